"""Sealing: every committed event once, in order, whatever happens to the sealer."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from audit import sealer as sealing
from audit import triggers
from audit.anchors import AnchorFile
from audit.events import EventAction
from audit.locks import sealer_lock
from audit.models import AuditEvent, AuditSeal
from audit.record import record
from audit.sealer import CannotSeal, Gaps, configured
from audit.verify import verify
from tests.audit.archived import tell
from tests.audit.helpers import anchors, execute, key, seal, whole, write

pytestmark = pytest.mark.django_db


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sealing, "Sealer", _with_clock(clock))
    return clock


def _with_clock(clock: Clock) -> Any:
    original = sealing.Sealer
    return lambda key, file: original(key, file, clock=clock)


def _anchored() -> list[int]:
    file = anchors()
    return [anchor.sequence for anchor in file.read(file.size())]


def test_events_are_numbered_in_order_and_chained() -> None:
    events = write(5)
    assert seal() == 5
    seals = list(AuditSeal.objects.all())
    assert [row.sequence for row in seals] == [1, 2, 3, 4, 5]
    assert [row.event_id for row in seals] == [event.pk for event in events]
    assert [row.previous_mac for row in seals[1:]] == [row.mac for row in seals[:-1]]
    assert len({row.mac for row in seals}) == 5
    assert {row.key_id for row in seals} == {key().id}
    report = whole()
    assert (report.events, report.sealed, report.unsealed, report.head_sequence) == (5, 5, 0, 5)


def test_more_than_a_batch_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 3)
    monkeypatch.setattr(sealing, "SWEEP_IDS", 7)
    write(20)
    sealer = configured()
    assert sealer.start() == 20
    write(8)
    assert [sealer.step() for _ in range(4)] == [3, 3, 2, 0]
    assert sealer.stop() == 0
    assert whole().sealed == 28


def test_an_empty_record_has_an_anchor_before_its_first_seal() -> None:
    assert seal() == 0
    assert _anchored() == [0]
    assert whole().events == 0


def test_the_head_is_written_down_at_start_at_stop_and_once_a_minute(clock: Clock) -> None:
    write(2)
    sealer = configured()
    sealer.start()
    assert _anchored() == [0, 2]
    write(3)
    sealer.step()
    clock.now += 59
    sealer.step()
    assert _anchored() == [0, 2]
    clock.now += 1
    sealer.step()
    assert _anchored() == [0, 2, 5]
    clock.now += 3600
    sealer.step()
    assert _anchored() == [0, 2, 5], "a head that did not move is not written again"
    write(1)
    sealer.stop()
    assert _anchored() == [0, 2, 5, 6]
    whole()


def test_a_disk_that_refuses_the_anchor_stops_no_seal_and_is_tried_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sealer = configured()
    sealer.start()
    append = AnchorFile.append
    monkeypatch.setattr(AnchorFile, "append", _no_space)
    write(2)
    clock.now += 60
    assert sealer.step() == 2
    assert "can't be written" in caplog.text
    monkeypatch.setattr(AnchorFile, "append", append)
    clock.now += 9
    sealer.step()
    assert _anchored() == [0]
    clock.now += 1
    sealer.step()
    assert _anchored() == [0, 2]


def _no_space(*args: object, **kwargs: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_sealer_that_dies_between_batch_and_anchor_is_no_break(monkeypatch: pytest.MonkeyPatch) -> None:
    write(3)
    seal()
    write(4)
    with monkeypatch.context() as patch:
        patch.setattr(AnchorFile, "append", _killed)
        with pytest.raises(KeyboardInterrupt):
            configured().start()
    assert AuditSeal.objects.count() == 7
    assert whole().sealed == 7
    write(1)
    assert seal() == 1
    assert _anchored() == [0, 3, 7, 8]
    assert whole().sealed == 8


def _killed(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def test_a_batch_that_is_rolled_back_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    write(2)
    with monkeypatch.context() as patch:
        patch.setattr(type(AuditSeal.objects.all()), "bulk_create", _killed)
        with pytest.raises(KeyboardInterrupt):
            configured().start()
    assert not AuditSeal.objects.exists()
    assert seal() == 2
    whole()


def test_an_end_that_was_cut_off_while_it_worked_is_written_down_first(caplog: pytest.LogCaptureFixture) -> None:
    write(3)
    sealer = configured()
    sealer.start()
    write(2)
    assert sealer.step() == 2  # seals 4 and 5, not anchored yet
    with triggers.lifted():
        execute("DELETE FROM audit_auditevent WHERE id > (SELECT event_id FROM audit_auditseal WHERE sequence = 4)")
        execute("DELETE FROM audit_auditseal WHERE sequence > 4")
    write(3)
    sealer.step()
    assert "ended at seal 5; now it ends at seal 4" in caplog.text
    assert _anchored() == [0, 3, 5]
    sealer.stop()
    report = verify()
    assert report.first_break is not None
    assert report.first_break.sequence == 5


def test_a_missing_or_a_strange_key_stops_the_sealer() -> None:
    write(1)
    seal()
    path = Path(settings.SLIPWAY_SEAL_KEY_FILE)
    content = path.read_text()
    path.unlink()
    with pytest.raises(CannotSeal, match="put it back"):
        configured()
    path.touch(mode=0o600)
    path.write_text("ab" * 64)
    with pytest.raises(CannotSeal, match="was sealed with key"):
        configured().start()
    path.write_text(content)
    write(1)
    assert seal() == 1


def test_what_slipway_cannot_have_written_gets_no_seal_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    (first, _) = write(2)
    with triggers.lifted():
        execute("UPDATE audit_auditevent SET version = 9 WHERE id = %s", first.pk)
    with caplog.at_level(logging.ERROR):
        assert seal() == 1
    assert f"Event {first.pk} is not sealed" in caplog.text
    assert verify().unsealed == 1


def test_gaps_are_remembered_for_a_minute_and_are_never_many() -> None:
    clock = Clock()
    gaps = Gaps(clock)
    gaps.note(10, [11, 13, 16])
    assert gaps.waiting() == [12, 14, 15]
    gaps.close([14, 99])
    clock.now += 30
    gaps.note(16, [18])
    assert gaps.waiting() == [12, 15, 17]
    clock.now += 31
    assert gaps.waiting() == [17]
    gaps.note(18, [10**15])
    assert len(gaps.waiting()) == sealing.MAX_GAPS


def test_an_id_that_was_passed_over_is_sealed_in_the_next_round_when_it_appears(clock: Clock) -> None:
    (first,) = write(1)
    sealer = configured()
    sealer.start()
    _write_with_id(first.pk + 3)
    assert sealer.step() == 1
    _write_with_id(first.pk + 2)
    assert sealer.step() == 1
    _write_with_id(first.pk + 1)
    clock.now += sealing.SWEEP_SECONDS - 1
    assert sealer.step() == 1
    assert [row.event_id - first.pk for row in AuditSeal.objects.all()] == [0, 3, 2, 1]
    whole()


def _write_with_id(event_id: int) -> None:
    AuditEvent(id=event_id, at=timezone.now(), action="vm.changed", outcome="ok", actor_kind="user", via="web").save()


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_after_a_later_one_is_sealed_in_the_next_round() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time, so that ids are committed in order.")
    recorded, may_commit = Event(), Event()
    late: list[int] = []

    def slow_transaction() -> None:
        with transaction.atomic():
            late.append(record(EventAction.VM_CHANGED).pk)
            recorded.set()
            assert may_commit.wait(30)
        connection.close()

    sealer = configured()
    write(1)
    sealer.start()
    thread = Thread(target=slow_transaction)
    thread.start()
    assert recorded.wait(30)
    (quick,) = write(1)
    assert quick.pk > late[0]
    assert sealer.step() == 1
    may_commit.set()
    thread.join()
    assert sealer.step() == 1
    assert list(AuditSeal.objects.order_by("-sequence").values_list("event_id", flat=True)[:2]) == [late[0], quick.pk]
    whole()


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_very_late_is_found_by_a_sweep(clock: Clock) -> None:
    write(1)
    sealer = configured()
    sealer.start()
    (passed_over, _) = write(2)
    sealer._highest = passed_over.pk + 1
    assert sealer.step() == 0
    clock.now += sealing.SWEEP_SECONDS
    assert sealer.step() == 2
    assert AuditEvent.objects.count() == AuditSeal.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_seal_is_on_the_disk_before_an_anchor_tells_of_it() -> None:
    off, ask, on = {
        "sqlite": ("PRAGMA synchronous = OFF", "PRAGMA synchronous", 2),
        "postgresql": ("SET synchronous_commit = off", "SHOW synchronous_commit", "on"),
    }[connection.vendor]
    execute(off)
    configured()
    with connection.cursor() as cursor:
        cursor.execute(ask)
        assert cursor.fetchone() == (on,)


@pytest.mark.django_db(transaction=True)
def test_only_one_can_be_the_sealer(tmp_path: Path) -> None:
    seen: list[bool] = []

    def try_it() -> None:
        with sealer_lock(tmp_path) as mine:
            seen.append(mine)
        connection.close()

    def elsewhere() -> None:
        thread = Thread(target=try_it)
        thread.start()
        thread.join()

    with sealer_lock(tmp_path) as mine:
        assert mine
        elsewhere()
    elsewhere()
    assert seen == [False, True]


def test_that_something_was_archived_is_written_down_at_once(clock: Clock) -> None:
    sealer = configured()
    sealer.start()
    write(1)
    sealer.step()
    assert _anchored() == [0]
    tell({})
    sealer.step()
    assert _anchored() == [0, 2]
