"""The two tables by SQL, in the canonical order: read for the sealer and the verification, added to by `record()`."""

# ruff: noqa: S608 (the statements are made of this file's constants; what varies is bound)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import OperationalError, connection

from audit.canonical import EVENT_COLUMNS
from audit.fields import encode

if TYPE_CHECKING:
    from audit.models import AuditEvent

#: Below every id but one. (PostgreSQL reads that one, -2**63, as a numeric, and would then not use the index.)
LOWEST = -(2**63) + 1

_ID = EVENT_COLUMNS.index("id")
_GIVEN = tuple(name for name in EVENT_COLUMNS if name != "id")
_AT = _GIVEN.index("at")
_INSERT = "INSERT INTO audit_auditevent ({}) VALUES ({}) RETURNING id".format(
    ", ".join(f'"{name}"' for name in _GIVEN), ", ".join(["%s"] * len(_GIVEN))
)
_UNSEALED = "NOT EXISTS (SELECT 1 FROM audit_auditseal s WHERE s.event_id = e.id)"
_PAGE_OF_SEALS = "(SELECT * FROM audit_auditseal WHERE sequence > %s ORDER BY sequence LIMIT %s) s"
# One look-up for each seal. Left to itself, PostgreSQL reads the events from the first one on, for every page again.
_EVENT_OF_SEAL = {
    "sqlite": "audit_auditevent e ON e.id = s.event_id",
    "postgresql": "LATERAL (SELECT * FROM audit_auditevent f WHERE f.id = s.event_id LIMIT 1) e ON true",
}


class Seal(NamedTuple):
    """A seal, as it is stored."""

    sequence: int
    event_id: int
    previous_mac: str
    mac: str
    key_id: str
    sealed_at: Any


class Entry(NamedTuple):
    """An event with its seal; without one while it waits for the sealer, without an event where that is gone."""

    seal: Seal | None
    event: Sequence[Any] | None


class Backlog(NamedTuple):
    """The events without a seal: how many, and the text of the oldest one's time.

    `misplaced`: the lowest id of those that were put in behind sealed ones, of which `backlog()` was told.
    """

    events: int
    oldest_at: str | None
    misplaced: int | None


_SEAL_COLUMNS = Seal._fields


def event_id(row: Sequence[Any]) -> int:
    """The id of an event's row."""
    return int(row[_ID])


def insert(event: AuditEvent) -> None:
    """Add a new event, whose values are plain, and give it its id.

    Written out: `save()` made this statement anew out of 24 fields each time, which took three times as long as
    running it, and it is run with every change.
    """
    values = [getattr(event, name) for name in _GIVEN]
    values[_AT] = connection.ops.adapt_datetimefield_value(event.at)
    plain = [encode(value) if isinstance(value, dict) else value for value in values]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, plain)
        event.pk = cursor.fetchone()[0]
    event._state.adding, event._state.db = False, connection.alias


def events_after(after: int, limit: int) -> list[tuple[Any, ...]]:
    """The next events above an id, at most `limit`."""
    return _fetch(f"SELECT {_events()} FROM audit_auditevent e WHERE e.id > %s ORDER BY e.id LIMIT %s", [after, limit])


def unsealed_ids(after: int, limit: int) -> list[int]:
    """Ids above `after` of events without a seal, in order, at most `limit`. Reads both tables' indexes through."""
    statement = f"SELECT e.id FROM audit_auditevent e WHERE {_UNSEALED} AND e.id > %s ORDER BY e.id LIMIT %s"
    return [found for (found,) in _fetch(statement, [after, limit])]


def unsealed_among(ids: Sequence[int]) -> list[tuple[Any, ...]]:
    """Events without a seal among these ids, by id."""
    if not ids:
        return []
    places = ", ".join(["%s"] * len(ids))
    statement = f"SELECT {_events()} FROM audit_auditevent e WHERE {_UNSEALED} AND e.id IN ({places}) ORDER BY e.id"
    return _fetch(statement, list(ids))


def sealed_after(sequence: int, limit: int) -> list[Entry]:
    """The next seals above a sequence number, at most `limit`, each with its event."""
    return [Entry(Seal._make(seal), event) for seal, event in map(_parted, _page_of_seals(sequence, limit))]


def sealed(page: int) -> Iterator[tuple[Sequence[Any], Sequence[Any] | None]]:
    """All seals from number 1 on, as the columns of `Seal`, each with its event; read `page` of them at a time.

    Plain tuples, made one by one: names, and a list of them, took longer than half of what reading the rows does.
    """
    after = 0
    while found := _page_of_seals(after, page):
        yield from map(_parted, found)
        after = found[-1][0]


def _parted(row: tuple[Any, ...]) -> tuple[Sequence[Any], Sequence[Any] | None]:
    return row[:6], row[6:] if row[6 + _ID] is not None else None


def _page_of_seals(sequence: int, limit: int) -> list[tuple[Any, ...]]:
    seal = ", ".join(_column("s", name) for name in _SEAL_COLUMNS)
    tables = f"{_PAGE_OF_SEALS} LEFT JOIN {_EVENT_OF_SEAL[connection.vendor]}"
    return _fetch(f"SELECT {seal}, {_events()} FROM {tables} ORDER BY s.sequence", [sequence, limit])


def entries(ids: Sequence[int]) -> list[Entry]:
    """The events of these ids, by id, each with its seal."""
    if not ids:
        return []
    seal = ", ".join(_column("s", name) for name in _SEAL_COLUMNS)
    places = ", ".join(["%s"] * len(ids))
    tables = "audit_auditevent e LEFT JOIN audit_auditseal s ON s.event_id = e.id"
    statement = f"SELECT {seal}, {_events()} FROM {tables} WHERE e.id IN ({places}) ORDER BY e.id"
    found = _fetch(statement, list(ids))
    return [Entry(Seal._make(row[:6]) if row[0] is not None else None, row[6:]) for row in found]


def not_sealed_by(
    head: int, *, after: int, through: int, since: datetime | None, until: datetime | None, limit: int
) -> list[tuple[Any, ...]]:
    """Events that no seal up to number `head` covers: ids above `after` up to `through`, `since` <= at < `until`."""
    conditions = ["NOT EXISTS (SELECT 1 FROM audit_auditseal s WHERE s.event_id = e.id AND s.sequence <= %s)"]
    conditions += ["e.id > %s", "e.id <= %s"]
    parameters: list[Any] = [head, after, through]
    for condition, moment in (("e.at >= %s", since), ("e.at < %s", until)):
        if moment is not None:
            conditions.append(condition)
            parameters.append(connection.ops.adapt_datetimefield_value(moment))
    where = " AND ".join(conditions)
    statement = f"SELECT {_events()} FROM audit_auditevent e WHERE {where} ORDER BY e.id LIMIT %s"
    return _fetch(statement, [*parameters, limit])


def backlog(*, below: int | None = None, before: datetime | None = None) -> Backlog:
    """How much waits for a seal; misplaced is what has an id under `below` and happened before a time.

    One statement, because it reads the indexes of both tables through.
    """
    misplaced, parameters = "NULL", list[Any]()
    if below is not None and before is not None:
        misplaced = "MIN(CASE WHEN e.id < %s AND e.at < %s THEN e.id END)"
        parameters = [below, connection.ops.adapt_datetimefield_value(before)]
    columns = f"COUNT(*), {_as_text('MIN(e.at)')}, {misplaced}"
    return Backlog._make(_fetch(f"SELECT {columns} FROM audit_auditevent e WHERE {_UNSEALED}", parameters)[0])


def _events() -> str:
    return ", ".join(_column("e", name) for name in EVENT_COLUMNS)


def _column(table: str, name: str) -> str:
    column = f'{table}."{name}"'
    return _as_text(column) if name in ("at", "sealed_at") else column


def _as_text(time: str) -> str:
    # As text, because a database can hold what Python's datetime can't: infinity, years before Christ, rubbish.
    return f"({time} AT TIME ZONE 'UTC')::text" if connection.vendor == "postgresql" else f"CAST({time} AS TEXT)"


def _fetch(statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())
        except OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise
    return _fetch_undecodable(statement, parameters)


def _fetch_undecodable(statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    """Read again what somebody filled with bytes that are no text (SQLite keeps them); they come as lone surrogates."""
    raw: Any = connection.connection
    usual, raw.text_factory = raw.text_factory, lambda content: content.decode("utf-8", "surrogateescape")
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())
    finally:
        raw.text_factory = usual
