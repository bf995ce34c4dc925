"""Whoever owns the database lets rows go, or says that they were archived: without the key it is found."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from audit import archive as statements
from audit import triggers
from audit.archive import Archived
from audit.keys import SealKey
from audit.models import AuditEvent, AuditSeal
from audit.verify import BreakKind
from tests.audit.archived import (
    archive,
    found,
    old_and_new,
    tell,
)
from tests.audit.helpers import execute, key, ring, seal, whole

pytestmark = pytest.mark.django_db


def _drop(upto: int) -> None:
    with triggers.lifted():
        execute(
            "DELETE FROM audit_auditevent WHERE id IN (SELECT event_id FROM audit_auditseal WHERE sequence <= %s)", upto
        )
        execute("DELETE FROM audit_auditseal WHERE sequence <= %s", upto)


def _claim(last: int) -> Archived:
    return Archived(1, last, AuditSeal.objects.get(sequence=last).mac, "0" * 64, "/nowhere", "2026-01-01", 1)


def test_rows_removed_without_a_statement_are_found() -> None:
    old_and_new()
    _drop(3)
    place = found()
    assert (place.kind, place.sequence) == (BreakKind.SEAL_MISSING, 1)


@pytest.mark.parametrize("forged_by", ["nobody", "a guess"])
def test_a_statement_by_who_lacks_the_key_is_none_even_when_it_is_sealed(forged_by: str) -> None:
    old_and_new()
    detail = statements.signed(_claim(3), SealKey(forged_by.encode()))
    tell({**detail, "key_id": key().id} if forged_by == "nobody" else detail)
    seal()
    _drop(3)
    place = found()
    assert (place.kind, place.sequence) == (BreakKind.SEAL_MISSING, 1)


def test_a_right_statement_that_is_not_sealed_counts_for_nothing() -> None:
    old_and_new()
    tell(statements.signed(_claim(3), key()))
    _drop(3)
    place = found()
    assert (place.kind, place.sequence) == (BreakKind.SEAL_MISSING, 1)
    seal()
    whole()


def test_a_replaced_key_states_nothing() -> None:
    old_and_new()
    old = key()
    call_command("audit_key_rotate", "--reason", "x", stdout=StringIO())
    tell(statements.signed(_claim(3), old))
    seal()
    _drop(3)
    place = found()
    assert (place.kind, place.sequence) == (BreakKind.SEAL_MISSING, 1)


def test_more_removed_than_was_archived_is_found_with_its_place() -> None:
    old_and_new()
    archive()
    seal()
    _drop(8)
    place = found()
    assert (place.kind, place.sequence) == (BreakKind.SEAL_MISSING, 7)


def test_an_altered_statement_is_found() -> None:
    old_and_new()
    archive()
    seal()
    told = AuditEvent.objects.get(action="audit.archived")
    with triggers.lifted():
        execute(
            "UPDATE audit_auditevent SET detail = replace(detail, '\"last\":6', '\"last\":8') WHERE id = %s", told.pk
        )
    place = found()
    assert (place.kind, place.sequence) == (BreakKind.SEAL_MISSING, 1)


def test_an_exchanged_head_is_found() -> None:
    old_and_new()
    archive()
    seal()
    with triggers.lifted():
        execute("UPDATE audit_auditseal SET previous_mac = %s WHERE sequence = 7", "f" * 64)
    assert found().sequence == 7


def test_a_removed_statement_is_found() -> None:
    old_and_new()
    archive()
    seal()
    with triggers.lifted():
        execute("DELETE FROM audit_auditevent WHERE action = 'audit.archived'")
    assert (found().kind, found().sequence) == (BreakKind.SEAL_MISSING, 1)


def test_archived_rows_put_back_are_no_break() -> None:
    old_and_new()
    kept = [list(AuditEvent.objects.filter(pk__in=AuditSeal.objects.filter(sequence__lte=6).values("event_id")))]
    seals = list(AuditSeal.objects.filter(sequence__lte=6))
    archive()
    seal()
    AuditEvent.objects.bulk_create(kept[0])
    AuditSeal.objects.bulk_create(seals)
    (remark,) = whole().remarks[-1:]
    assert "Seals 1 to 6 are archived, but still in the record" in remark


def test_the_end_cut_off_after_an_archive_is_found() -> None:
    old_and_new()
    archive()
    seal()
    with triggers.lifted():
        execute("DELETE FROM audit_auditevent")
        execute("DELETE FROM audit_auditseal")
    assert found().kind is BreakKind.TRUNCATED


def test_a_right_code_is_over_every_field() -> None:
    old_and_new()
    detail = statements.signed(_claim(3), key())
    assert statements.read(1, detail, ring()) is not None
    for name in detail:
        assert statements.read(1, {**detail, name: "9"}, ring()) is None, name
        assert statements.read(1, {k: v for k, v in detail.items() if k != name}, ring()) is None, name
    for rubbish in (None, "x", [], {}, {"code": 5, "key_id": key().id}):
        assert statements.read(1, rubbish, ring()) is None
