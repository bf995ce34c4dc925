"""The database's own rules that keep the record append-only, on SQLite and on PostgreSQL.

A row can be removed when a sealed `audit.archived` event covers it, and in no other way. The rules stop every program
that works with the database's ordinary means, Slipway's own code included. Who owns the database can lift them, and who
can write into it can insert such an event; what was done then, the seals and the anchors show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connection as default_connection

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

EVENTS = "audit_auditevent"
SEALS = "audit_auditseal"
#: What makes a row the same row: an insert that would replace one is refused.
_IDENTITIES = {EVENTS: ("id",), SEALS: ("sequence", "event_id")}
#: The last seal that may be removed: the end of the range that a sealed event says was archived. Asked for each row,
#: so it leaves the database one way only: the few events of that action, by its index.
_ARCHIVED_TO = (
    "SELECT COALESCE(MAX({number}), 0) FROM audit_auditevent a WHERE a.action = 'audit.archived' "
    "AND EXISTS (SELECT 1 FROM audit_auditseal z WHERE z.event_id = a.id)"
)
_KINDS = {"sqlite": ("update", "delete", "replace"), "postgresql": ("update", "delete", "truncate")}


def names(vendor: str) -> list[str]:
    """The names of the triggers that a database of this kind must have."""
    return [f"{table}_no_{kind}" for table in _IDENTITIES for kind in _KINDS[vendor]]


def creation(vendor: str) -> list[str]:
    """The statements that create the triggers. Raises KeyError for a database that Slipway doesn't know."""
    if vendor == "sqlite":
        return [_sqlite_trigger(table, kind) for table in _IDENTITIES for kind in _KINDS[vendor]]
    statements = [*_postgresql_functions()]
    for table in _IDENTITIES:
        for kind in _KINDS[vendor]:
            name = f"{table}_no_{kind}"
            # By statement, so that one that happens to hit no row is refused too; but what may go is asked of each row.
            each, function = ("ROW", f"{table}_keep") if kind == "delete" else ("STATEMENT", "audit_refuse")
            statements.append(
                f"CREATE TRIGGER {name} BEFORE {kind.upper()} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()"
            )
            # Always: not silenced by session_replication_role = replica.
            statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    return statements


def removal(vendor: str) -> list[str]:
    """The statements that remove the triggers."""
    if vendor == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {name}" for name in names(vendor)]
    dropped = [
        f"DROP TRIGGER IF EXISTS {table}_no_{kind} ON {table}" for table in _IDENTITIES for kind in _KINDS[vendor]
    ]
    functions = ["audit_refuse", f"{EVENTS}_keep", f"{SEALS}_keep", "audit_archived_to"]
    return [*dropped, *(f"DROP FUNCTION IF EXISTS {name}()" for name in functions)]


def missing(connection: BaseDatabaseWrapper = default_connection) -> list[str]:
    """The names of the triggers that are not there (or, on PostgreSQL, not always in force)."""
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if connection.vendor == "sqlite"
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'A'"
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        present = {name for (name,) in cursor.fetchall()}
    return [name for name in names(connection.vendor) if name not in present]


@contextmanager
def lifted(connection: BaseDatabaseWrapper = default_connection) -> Iterator[None]:
    """For tests: no triggers inside the block, all of them again after it."""
    _execute(connection, removal(connection.vendor))
    try:
        yield
    finally:
        _execute(connection, creation(connection.vendor))


def _execute(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _postgresql_functions() -> Iterator[str]:
    refusal = "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
    yield f"CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {refusal}"
    number = "CASE WHEN a.object_id ~ '^[0-9]{1,18}$' THEN a.object_id::bigint END"
    yield (
        "CREATE OR REPLACE FUNCTION audit_archived_to() RETURNS bigint LANGUAGE sql STABLE AS $$ "
        f"{_ARCHIVED_TO.format(number=number)} $$"
    )
    for table, archived in _archived("audit_archived_to()").items():
        yield (
            f"CREATE OR REPLACE FUNCTION {table}_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {archived} THEN RETURN OLD; END IF; {refusal}"
        )


def _archived(archived_to: str) -> dict[str, str]:
    """Of each table, the condition under which its OLD row may go."""
    return {
        EVENTS: f"EXISTS (SELECT 1 FROM {SEALS} s WHERE s.event_id = OLD.id AND s.sequence <= {archived_to})",  # noqa: S608
        SEALS: f"OLD.sequence <= {archived_to}",
    }


def _sqlite_trigger(table: str, kind: str) -> str:
    refusal = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    if kind == "update":
        return f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refusal}"
    if kind == "delete":
        is_number = "a.object_id NOT GLOB '*[^0-9]*' AND LENGTH(a.object_id) < 19"
        number = f"CASE WHEN {is_number} THEN CAST(a.object_id AS INTEGER) END"
        archived_to = f"({_ARCHIVED_TO.format(number=number)})"
        kept = f"NOT ({_archived(archived_to)[table]})"
        return f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN {kept} {refusal}"
    # INSERT OR REPLACE removes the old row without firing a DELETE trigger (recursive_triggers is off by default).
    same = " OR ".join(f"{column} = NEW.{column}" for column in _IDENTITIES[table])
    there = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 (constants of this file)
    return f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} {refusal}"
