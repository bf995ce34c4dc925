"""As `test_tampering`, on a record whose oldest part was archived: what is left, the kept head and the statement.

Seals 1 to 8 are archived; 9 to 20 are in the record, the statement is 12 and the end of the removal 13.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction

from audit import archive as statements
from audit import triggers
from audit.archive import Archived
from audit.events import EventAction
from audit.keys import SealKey
from audit.models import AuditEvent, AuditSeal
from audit.record import Target, record_alone
from audit.verify import BreakKind, verify
from tests.audit import test_tampering as tampering
from tests.audit.archived import archive, old_events
from tests.audit.helpers import anchors, execute, key, seal, whole, write

pytestmark = pytest.mark.django_db

ARCHIVED, FIRST, STATEMENT, LAST = 8, 9, 12, 20


@pytest.fixture(autouse=True)
def _record() -> Iterator[None]:
    old_events(ARCHIVED)
    write(STATEMENT - FIRST)
    seal()
    archive()
    write(LAST - STATEMENT - 1)
    seal()
    report = whole()
    assert (report.sealed, report.head_sequence, report.archived[0].last) == (LAST - ARCHIVED, LAST, ARCHIVED)
    with triggers.lifted():
        yield


def _drop_front(upto: int) -> None:
    tampering._delete(AuditEvent, "id IN (SELECT event_id FROM audit_auditseal WHERE sequence <= %s)", upto)
    tampering._delete(AuditSeal, "sequence <= %s", upto)


def _edit(rng: random.Random) -> None:
    sequence = rng.randint(FIRST, LAST)
    if rng.random() < 0.6:
        column = rng.choice([field.column for field in AuditEvent._meta.concrete_fields])
        tampering._edit(triggers.EVENTS, column, "id", tampering._event_id(sequence))
    else:
        column = rng.choice([field.column for field in AuditSeal._meta.concrete_fields])
        tampering._edit(triggers.SEALS, column, "sequence", sequence)


def _edit_statement(rng: random.Random) -> None:
    column = rng.choice([field.column for field in AuditEvent._meta.concrete_fields])
    tampering._edit(triggers.EVENTS, column, "id", tampering._event_id(STATEMENT))


def _remove(rng: random.Random) -> None:
    sequence = rng.randint(FIRST, LAST)
    kind = rng.randrange(4)
    if kind == 0:
        tampering._delete(AuditEvent, "id = %s", tampering._event_id(sequence))
    elif kind == 1:
        tampering._delete(AuditSeal, "sequence = %s", sequence)
    elif kind == 2:
        tampering._cut_off(sequence - 1)
    else:
        tampering._delete(AuditSeal, "sequence > %s", sequence - 1)


def _remove_more_than_archived(rng: random.Random) -> None:
    _drop_front(rng.randint(FIRST, LAST))


def _state_without_the_key(rng: random.Random) -> None:
    """Everything but the code is right, and the event is sealed as any other."""
    last = rng.randint(FIRST, LAST)
    claim = Archived(FIRST, last, AuditSeal.objects.get(sequence=last).mac, "0" * 64, "/nowhere", "2026-01-01", 2)
    detail = statements.signed(claim, SealKey(b"a guess"))
    told = {**detail, "key_id": key().id} if rng.random() < 0.5 else detail
    record_alone(EventAction.AUDIT_ARCHIVED, target=Target("audit_archive", str(last)), detail=told)
    seal()
    _drop_front(last)


def _stretch_the_statement(rng: random.Random) -> None:
    """The right statement, copied with another end, and sealed as any other event."""
    told = AuditEvent.objects.get(pk=tampering._event_id(STATEMENT))
    last = rng.randint(FIRST, LAST)
    detail = {**told.detail, "last": last, "mac": AuditSeal.objects.get(sequence=last).mac}
    record_alone(EventAction.AUDIT_ARCHIVED, target=Target("audit_archive", str(last)), detail=detail)
    seal()
    _drop_front(last)


def _swap(rng: random.Random) -> None:
    first, second = rng.sample(range(FIRST, LAST + 1), 2)
    ids = tampering._event_id(first), tampering._event_id(second)
    if rng.random() < 0.5:
        for old, new in ((ids[0], -1), (ids[1], ids[0]), (-1, ids[1])):
            execute("UPDATE audit_auditevent SET id = %s WHERE id = %s", new, old)
    else:
        for old, new in ((first, -1), (second, first), (-1, second)):
            execute("UPDATE audit_auditseal SET sequence = %s WHERE sequence = %s", new, old)


def _make_anew(rng: random.Random) -> None:
    start = rng.randint(FIRST, LAST)
    mac = AuditSeal.objects.get(sequence=start).previous_mac
    ids = list(AuditSeal.objects.filter(sequence__gte=start).values_list("event_id", flat=True))
    execute("UPDATE audit_auditevent SET actor_name = 'nobody' WHERE id >= %s", ids[0])
    tampering._delete(AuditSeal, "sequence >= %s", start)
    key_id = rng.choice([tampering.FORGER.id, key().id])
    for number, event_id in enumerate(ids, start=start):
        mac = tampering._forge(number, event_id, mac, key_id=key_id)


ATTACKS: list[Callable[[random.Random], None]] = [
    _edit,
    _edit,
    _edit_statement,
    _remove,
    _remove_more_than_archived,
    _state_without_the_key,
    _stretch_the_statement,
    _swap,
    _make_anew,
]


@contextmanager
def _undone() -> Iterator[None]:
    """Whatever happens inside, to the database and to the anchor file, is undone."""
    kept, savepoint = anchors().path.read_bytes(), transaction.savepoint()
    yield
    transaction.savepoint_rollback(savepoint)
    anchors().path.write_bytes(kept)


@pytest.mark.parametrize("attack", ATTACKS[1:], ids=lambda attack: attack.__name__)
def test_each_kind_of_tampering_is_found(attack: Callable[[random.Random], None]) -> None:
    rng = random.Random(7)
    for _ in range(8):
        with _undone():
            attack(rng)
            report = verify()
            assert not report.ok
            assert report.first_break is not None
        whole()


def test_what_was_removed_beyond_the_archive_is_named() -> None:
    _drop_front(ARCHIVED + 2)
    found = verify().first_break
    assert found is not None
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, FIRST)
    assert f"the next one there is {ARCHIVED + 3}" in found.sentence


@pytest.mark.parametrize("rounds", [100, pytest.param(10_000, marks=pytest.mark.long)])
def test_random_tampering_is_always_found(rounds: int) -> None:
    rng = random.Random(rounds)
    for number in range(rounds):
        with _undone():
            attack = rng.choice(ATTACKS)
            attack(rng)
            assert not verify().ok, f"{attack.__name__}, round {number} of seed {rounds}"
    whole()
