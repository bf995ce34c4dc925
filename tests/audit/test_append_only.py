"""Rows can be added and read, nothing else: by Python, and by the database for everybody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction

from audit import triggers
from audit.models import AppendOnly, AuditEvent, AuditSeal
from tests.audit.helpers import execute, seal, write

pytestmark = pytest.mark.django_db

STATEMENTS = [
    "UPDATE audit_auditevent SET actor_name = 'nobody'",
    "UPDATE audit_auditevent SET actor_name = 'nobody' WHERE 1 = 0 OR id IS NOT NULL",
    "DELETE FROM audit_auditevent",
    "UPDATE audit_auditseal SET mac = previous_mac",
    "DELETE FROM audit_auditseal",
]
SQLITE_ONLY = [
    "INSERT OR REPLACE INTO audit_auditevent SELECT * FROM audit_auditevent",
    "REPLACE INTO audit_auditseal SELECT * FROM audit_auditseal",
    "INSERT OR REPLACE INTO audit_auditseal SELECT sequence + 100, event_id, previous_mac, mac, key_id, sealed_at "
    "FROM audit_auditseal",
    "UPDATE OR REPLACE audit_auditevent SET id = 1",
]
POSTGRESQL_ONLY = [
    "TRUNCATE audit_auditevent",
    "TRUNCATE audit_auditseal CASCADE",
    "INSERT INTO audit_auditseal SELECT * FROM audit_auditseal ON CONFLICT (sequence) DO UPDATE SET mac = ''",
    "SET LOCAL session_replication_role = replica; DELETE FROM audit_auditevent",
    "WITH gone AS (DELETE FROM audit_auditseal RETURNING 1) SELECT * FROM gone",
]
OF_VENDOR = {"sqlite": SQLITE_ONLY, "postgresql": POSTGRESQL_ONLY}


def _content() -> tuple[list[object], list[object]]:
    return list(AuditEvent.objects.order_by("id").values_list()), list(AuditSeal.objects.values_list())


def test_the_database_refuses_to_change_or_remove_a_row() -> None:
    write(3)
    seal()
    before = _content()
    for statement in STATEMENTS + OF_VENDOR[connection.vendor]:
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(statement)
        assert _content() == before, statement
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditSeal.objects.bulk_create(AuditSeal.objects.all())


def test_adding_still_works() -> None:
    write(2)
    seal()
    write(2)
    assert AuditEvent.objects.count() == 4


@pytest.mark.parametrize(
    "attempt",
    [
        lambda event: event.save(),
        lambda event: event.delete(),
        lambda event: AuditEvent.objects.update(reason="x"),
        lambda event: AuditEvent.objects.all().delete(),
        lambda event: AuditEvent.objects.filter(pk=event.pk).delete(),
        lambda event: AuditEvent.objects.bulk_update([event], ["reason"]),
        lambda event: AuditEvent.objects.bulk_create([event], ignore_conflicts=True),
        lambda event: AuditEvent.objects.update_or_create(pk=event.pk, defaults={"reason": "x"}),
        lambda event: AuditSeal.objects.update(mac=""),
        lambda event: AuditSeal.objects.all().delete(),
    ],
)
def test_python_refuses_first(attempt: Callable[[AuditEvent], object]) -> None:
    (event,) = write(1)
    with pytest.raises(AppendOnly):
        attempt(event)


def test_a_new_object_with_an_old_id_does_not_overwrite() -> None:
    (event,) = write(1)
    impostor = AuditEvent(pk=event.pk, at=event.at, action="vm.changed", outcome="ok", actor_kind="user", via="web")
    with pytest.raises(IntegrityError), transaction.atomic():
        impostor.save()
    assert AuditEvent.objects.get().actor_name == "ines"


def test_lifting_is_for_a_block_and_leaves_all_triggers_in_place() -> None:
    (event, _) = write(2)
    assert triggers.missing() == []
    with triggers.lifted():
        assert triggers.missing() == triggers.names(connection.vendor)
        execute("DELETE FROM audit_auditevent WHERE id = %s", event.pk)
    assert triggers.missing() == []
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        execute("DELETE FROM audit_auditevent")


def test_the_triggers_stand_on_the_tables_of_the_models() -> None:
    assert (AuditEvent._meta.db_table, AuditSeal._meta.db_table) == (triggers.EVENTS, triggers.SEALS)
    for model in (AuditEvent, AuditSeal):
        assert not any(field.is_relation for field in model._meta.get_fields()), "a foreign key could cascade"


def test_a_long_record_is_not_read_through_for_each_row_that_goes() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL plans by what its statistics say; with them, it has the choice.")
    number = "LENGTH(a.object_id)"
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {triggers._ARCHIVED_TO.format(number=number)}")
        plan = " ".join(str(row[-1]) for row in cursor.fetchall())
    assert "audit_event_action" in plan
    assert "SCAN" not in plan
