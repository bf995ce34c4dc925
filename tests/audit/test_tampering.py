"""Whoever owns the database lifts the triggers and changes something: that is found, and the first place named.

A record of 12 events, sealed and anchored after the 4th, the 8th and the 12th.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, models, transaction

from audit import rows, triggers
from audit.canonical import event_bytes
from audit.chain import GENESIS, seal_mac
from audit.keys import SealKey
from audit.models import AuditEvent, AuditSeal
from audit.verify import Break, BreakKind, verify
from tests.audit.helpers import execute, key, seal, whole, write

pytestmark = pytest.mark.django_db

LENGTH = 12
FORGER = SealKey(b"a guess")


@pytest.fixture(autouse=True)
def _record() -> Iterator[None]:
    for _ in range(3):
        write(LENGTH // 3)
        seal()
    whole()
    with triggers.lifted():
        yield


def _found() -> Break:
    report = verify()
    assert not report.ok
    assert report.first_break is not None
    assert report.first_break.sentence.endswith(".")
    return report.first_break


def _event_id(sequence: int) -> int:
    return int(AuditSeal.objects.get(sequence=sequence).event_id)


def _delete(model: type[models.Model], condition: str, *parameters: object) -> None:
    execute(f"DELETE FROM {model._meta.db_table} WHERE {condition}", *parameters)  # noqa: S608


def _cut_off(after: int) -> None:
    """Remove what follows a seal, from both tables."""
    _delete(AuditEvent, "id IN (SELECT event_id FROM audit_auditseal WHERE sequence > %s)", after)
    _delete(AuditSeal, "sequence > %s", after)


# Editing


def _other(value: Any) -> Any:
    """A value of the same kind that is not this one."""
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, int):
        return value + 1000
    return json.dumps({"forged": True}) if value is None or value[:1] in ("{", "n") else value[:-1] + "~"


def _edit(table: str, column: str, where: str, row_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "{column}" FROM {table} WHERE {where} = %s', [row_id])  # noqa: S608
        (value,) = cursor.fetchone()
        if isinstance(value, datetime) and value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        new = _other(value)
        if isinstance(new, datetime):
            new = connection.ops.adapt_datetimefield_value(new)
        cursor.execute(f'UPDATE {table} SET "{column}" = %s WHERE {where} = %s', [new, row_id])  # noqa: S608


@pytest.mark.parametrize("sequence", [1, 6, LENGTH])
@pytest.mark.parametrize("column", [field.column for field in AuditEvent._meta.concrete_fields])
def test_every_edited_column_of_an_event_is_found(column: str, sequence: int) -> None:
    _edit(triggers.EVENTS, column, "id", _event_id(sequence))
    found = _found()
    assert found.sequence == sequence
    assert found.kind is (BreakKind.EVENT_MISSING if column == "id" else BreakKind.ALTERED)


@pytest.mark.parametrize("sequence", [1, 6, LENGTH])
@pytest.mark.parametrize("column", [field.column for field in AuditSeal._meta.concrete_fields])
def test_every_edited_column_of_a_seal_is_found(column: str, sequence: int) -> None:
    _edit(triggers.SEALS, column, "sequence", sequence)
    assert _found().sequence == sequence


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("before", None),
        ("before", "{}"),
        ("before", '{"memory_mib": 5}'),  # the same document, written otherwise
        ("reason", ""),
        ("reason", "reason 5 "),
        ("actor_name", "İnes"),
        ("at", "2026-01-01 00:00:00"),
        ("version", 2),
    ],
)
def test_small_edits_are_found_too(column: str, value: object) -> None:
    execute(f'UPDATE audit_auditevent SET "{column}" = %s WHERE id = %s', value, _event_id(6))  # noqa: S608
    assert (_found().kind, _found().sequence) == (BreakKind.ALTERED, 6)


OUTLANDISH = {
    "sqlite": ["CAST(x'fffe' AS TEXT)", "x'00'", "'not a time'", "'2026-01-31 08:00:00+00:00'", "5.5"],
    "postgresql": ["'infinity'", "'-infinity'", "'2026-01-31 08:00:00 BC'", "'29999-01-31 08:00:00'"],
}


def test_times_that_python_cannot_hold_are_found_and_named() -> None:
    for value in OUTLANDISH[connection.vendor]:
        savepoint = transaction.savepoint()
        execute(f"UPDATE audit_auditevent SET at = {value} WHERE id = %s", _event_id(6))  # noqa: S608
        assert (_found().kind, _found().sequence) == (BreakKind.ALTERED, 6), value
        transaction.savepoint_rollback(savepoint)


def test_text_that_is_none_is_found_and_named() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL checks that text is text.")
    for value in ("CAST(x'fffe' AS TEXT)", "x'00'"):
        savepoint = transaction.savepoint()
        execute(f"UPDATE audit_auditevent SET actor_name = {value}, reason = {value} WHERE id = %s", _event_id(6))  # noqa: S608
        assert (_found().kind, _found().sequence) == (BreakKind.ALTERED, 6), value
        transaction.savepoint_rollback(savepoint)


# Removing, adding, moving


@pytest.mark.parametrize("sequence", [1, 6, LENGTH])
def test_a_removed_event_is_found(sequence: int) -> None:
    _delete(AuditEvent, "id = %s", _event_id(sequence))
    assert (_found().kind, _found().sequence) == (BreakKind.EVENT_MISSING, sequence)


@pytest.mark.parametrize("sequence", [1, 6])
@pytest.mark.parametrize("and_its_event", [False, True])
def test_a_removed_seal_is_found(sequence: int, and_its_event: bool) -> None:
    if and_its_event:
        _delete(AuditEvent, "id = %s", _event_id(sequence))
    _delete(AuditSeal, "sequence = %s", sequence)
    found = _found()
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, sequence)
    assert f"Seal {sequence} is missing" in found.sentence


def test_a_removed_seal_with_the_later_ones_moved_up_is_found() -> None:
    _delete(AuditSeal, "sequence = 6")
    for sequence in range(7, LENGTH + 1):
        execute("UPDATE audit_auditseal SET sequence = %s WHERE sequence = %s", sequence - 1, sequence)
    assert (_found().kind, _found().sequence) == (BreakKind.LINK, 6)


@pytest.mark.parametrize("after", [0, 4, 7, 11])
def test_an_end_that_was_cut_off_is_found(after: int) -> None:
    _cut_off(after)
    assert (_found().kind, _found().sequence) == (BreakKind.TRUNCATED, after + 1)


def test_seals_cut_off_under_their_events_are_found() -> None:
    _delete(AuditSeal, "sequence > 8")
    assert (_found().kind, _found().sequence) == (BreakKind.TRUNCATED, 9)


def test_everything_removed_is_found() -> None:
    _cut_off(0)
    assert not AuditEvent.objects.exists()
    assert (_found().kind, _found().sequence) == (BreakKind.TRUNCATED, 1)


def test_an_end_that_was_cut_off_stays_found_when_the_sealer_goes_on() -> None:
    _cut_off(7)
    write(9)
    seal()
    assert (_found().kind, _found().sequence) == (BreakKind.ANCHOR_DIFFERS, 8)


def test_an_event_put_in_behind_sealed_ones_is_found() -> None:
    now = datetime.now(UTC)
    AuditEvent(
        id=_event_id(1) - 1,
        at=now - timedelta(hours=1),
        action="vm.changed",
        outcome="ok",
        actor_kind="user",
        via="web",
    ).save()
    assert (_found().kind, _found().event_id) == (BreakKind.UNSEALED, _event_id(1) - 1)


@pytest.mark.parametrize("sequence", [-5, 0, LENGTH + 1, LENGTH + 50])
def test_a_forged_seal_is_found(sequence: int) -> None:
    (event,) = write(1)
    _forge(sequence, event.pk, AuditSeal.objects.get(sequence=LENGTH).mac, key_id=key().id)
    found = _found()
    assert found.sequence == (LENGTH + 1 if sequence > LENGTH else sequence)


def _forge(sequence: int, event_id: int, previous_mac: str, *, key_id: str) -> str:
    """A seal by somebody who knows everything but the key."""
    now = datetime.now(UTC)
    (row,) = rows.unsealed_among([event_id])
    mac = seal_mac(
        FORGER, sequence=sequence, event_id=event_id, previous_mac=previous_mac, sealed_at=now, event=event_bytes(row)
    )
    AuditSeal(
        sequence=sequence, event_id=event_id, previous_mac=previous_mac, mac=mac, key_id=key_id, sealed_at=now
    ).save()
    return mac


def test_two_events_with_their_contents_swapped_are_found() -> None:
    first, second = _event_id(5), _event_id(9)
    for old, new in ((first, -1), (second, first), (-1, second)):
        execute("UPDATE audit_auditevent SET id = %s WHERE id = %s", new, old)
    assert (_found().kind, _found().sequence) == (BreakKind.ALTERED, 5)


def test_two_seals_with_their_events_swapped_are_found() -> None:
    first, second = _event_id(5), _event_id(9)
    for sequence, event_id in ((5, -1), (9, first), (5, second)):
        execute("UPDATE audit_auditseal SET event_id = %s WHERE sequence = %s", event_id, sequence)
    assert (_found().kind, _found().sequence) == (BreakKind.ALTERED, 5)


# Making it anew


@pytest.mark.parametrize("honest_about_the_key", [False, True])
@pytest.mark.parametrize("start", [1, 6, LENGTH])
def test_a_chain_made_anew_without_the_key_is_found(start: int, honest_about_the_key: bool) -> None:
    execute("UPDATE audit_auditevent SET actor_name = 'nobody' WHERE id >= %s", _event_id(start))
    ids = list(AuditSeal.objects.filter(sequence__gte=start).values_list("event_id", flat=True))
    mac = AuditSeal.objects.get(sequence=start - 1).mac if start > 1 else GENESIS
    _delete(AuditSeal, "sequence >= %s", start)
    for number, event_id in enumerate(ids, start=start):
        mac = _forge(number, event_id, mac, key_id=FORGER.id if honest_about_the_key else key().id)
    assert _found().sequence == start
    assert _found().kind is (BreakKind.KEY_UNKNOWN if honest_about_the_key else BreakKind.ALTERED)


def test_an_old_copy_put_back_is_found_at_once_and_after_more_work() -> None:
    copy = [list(AuditEvent.objects.filter(id__lte=_event_id(7))), list(AuditSeal.objects.filter(sequence__lte=7))]
    write(3)
    seal()
    execute("DELETE FROM audit_auditevent")
    execute("DELETE FROM audit_auditseal")
    AuditEvent.objects.bulk_create(copy[0])
    AuditSeal.objects.bulk_create(copy[1])
    assert (_found().kind, _found().sequence) == (BreakKind.TRUNCATED, 8)
    write(20)
    seal()
    assert (_found().kind, _found().sequence) == (BreakKind.ANCHOR_DIFFERS, 8)


# At random


def _random_edit(rng: random.Random) -> None:
    sequence = rng.randint(1, LENGTH)
    if rng.random() < 0.6:
        column = rng.choice([field.column for field in AuditEvent._meta.concrete_fields])
        _edit(triggers.EVENTS, column, "id", _event_id(sequence))
    else:
        column = rng.choice([field.column for field in AuditSeal._meta.concrete_fields])
        _edit(triggers.SEALS, column, "sequence", sequence)


def _random_removal(rng: random.Random) -> None:
    sequence = rng.randint(1, LENGTH)
    kind = rng.randrange(4)
    if kind == 0:
        _delete(AuditEvent, "id = %s", _event_id(sequence))
    elif kind == 1:
        _delete(AuditSeal, "sequence = %s", sequence)
    elif kind == 2:
        _cut_off(sequence - 1)
    else:
        _delete(AuditSeal, "sequence > %s", sequence - 1)


def _random_swap(rng: random.Random) -> None:
    first, second = rng.sample(range(1, LENGTH + 1), 2)
    ids = _event_id(first), _event_id(second)
    if rng.random() < 0.5:
        for old, new in ((ids[0], -1), (ids[1], ids[0]), (-1, ids[1])):
            execute("UPDATE audit_auditevent SET id = %s WHERE id = %s", new, old)
    else:
        for old, new in ((first, -1), (second, first), (-1, second)):
            execute("UPDATE audit_auditseal SET sequence = %s WHERE sequence = %s", new, old)


def _random_remake(rng: random.Random) -> None:
    test_a_chain_made_anew_without_the_key_is_found(rng.randint(1, LENGTH), rng.random() < 0.5)


ATTACKS: list[Callable[[random.Random], None]] = [
    _random_edit,
    _random_edit,
    _random_removal,
    _random_swap,
    _random_remake,
]


@pytest.mark.parametrize("rounds", [150, pytest.param(10_000, marks=pytest.mark.long)])
def test_random_tampering_is_always_found(rounds: int) -> None:
    rng = random.Random(rounds)
    for number in range(rounds):
        savepoint = transaction.savepoint()
        attack = rng.choice(ATTACKS)
        attack(rng)
        assert not verify().ok, f"{attack.__name__}, round {number} of seed {rounds}"
        transaction.savepoint_rollback(savepoint)
    whole()
