"""Verification of a record that nobody touched: always whole, with the right figures; and what its commands print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from audit import triggers
from audit import verify as verification
from audit.models import AuditEvent, AuditSeal
from audit.sealer import configured
from audit.verify import BreakKind, verify
from tests.audit.helpers import execute, seal, whole, write

pytestmark = pytest.mark.django_db


def test_a_record_that_was_never_sealed_is_whole_and_makes_no_key() -> None:
    write(2)
    report = whole()
    assert (report.events, report.sealed, report.unsealed) == (2, 0, 2)
    assert report.oldest_unsealed_seconds is not None
    assert report.oldest_unsealed_seconds < 60
    assert not Path(settings.SLIPWAY_SEAL_KEY_FILE).exists()


def test_pages_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "PAGE", 3)
    for count in (1, 2, 3, 7):
        write(count)
        seal()
        assert whole().sealed == AuditEvent.objects.count()


def test_waiting_for_a_sealer_that_is_down_is_no_break() -> None:
    write(2)
    seal()
    _write_at(timezone.now() - timedelta(days=2))
    _write_at(timezone.now())
    report = whole()
    assert (report.sealed, report.unsealed) == (2, 2)
    assert report.oldest_unsealed_seconds == pytest.approx(2 * 86400, abs=60)
    seal()
    assert whole().unsealed == 0


def test_events_sealed_far_out_of_the_order_of_their_times_are_remarked_upon() -> None:
    write(2)
    seal()
    assert whole().remarks == ()
    _write_at(timezone.now() - timedelta(minutes=9))
    seal()
    assert whole().remarks == ()
    late = _write_at(timezone.now() - timedelta(minutes=11))
    seal()
    (remark,) = whole().remarks
    assert f"event {late.pk}, seal 4" in remark


def test_after_a_clock_that_was_ahead_only_what_is_too_early_is_remarked_upon() -> None:
    ahead = timezone.now() + timedelta(days=1)
    _write_at(ahead.replace(microsecond=120_000))
    _write_at(ahead.replace(microsecond=120_000) - timedelta(minutes=10))
    too_early = _write_at(ahead.replace(microsecond=119_999) - timedelta(minutes=10))
    _write_at(ahead.replace(microsecond=0))
    seal()
    (remark,) = whole().remarks
    assert remark.startswith("Events that happened over 10 minutes before one sealed earlier: 1, ")
    assert f"event {too_early.pk}, seal 3" in remark


def _write_at(at: Any) -> AuditEvent:
    event = AuditEvent(at=at, action="vm.changed", outcome="ok", actor_kind="user", via="web")
    event.save()
    return event


def test_missing_triggers_are_remarked_upon() -> None:
    execute(triggers.removal(connection.vendor)[0])
    (remark,) = whole().remarks
    assert triggers.names(connection.vendor)[0] in remark


OPERATIONS = st.lists(st.sampled_from(["write", "write", "step", "stop", "die", "roll back"]), min_size=1, max_size=12)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_no_false_alarm_whatever_the_sealer_goes_through(operations: list[str]) -> None:
    sealer = None
    for operation in operations:
        if operation == "write":
            write(2)
        elif operation == "roll back":
            _write_and_roll_back()
        elif operation == "die":
            sealer = None
        else:
            if sealer is None:
                sealer = configured()
                sealer.start()
            sealer.step() if operation == "step" else sealer.stop()
            sealer = sealer if operation == "step" else None
        whole()
    seal()
    report = whole()
    assert report.sealed == report.events == AuditEvent.objects.count()


def _write_and_roll_back() -> None:
    savepoint = transaction.savepoint()
    write(1)
    transaction.savepoint_rollback(savepoint)


def test_without_its_key_a_sealed_record_cannot_be_verified() -> None:
    write(1)
    seal()
    Path(settings.SLIPWAY_SEAL_KEY_FILE).unlink()
    report = verify()
    assert report.first_break is not None
    assert report.first_break.kind is BreakKind.KEY_MISSING
    assert not Path(settings.SLIPWAY_SEAL_KEY_FILE).exists()


# The commands


@pytest.fixture
def out() -> Iterator[StringIO]:
    with StringIO() as out:
        yield out


def test_audit_verify_says_that_the_record_is_whole_and_that_it_looked(out: StringIO) -> None:
    write(2)
    call_command("sealer", "--once", stdout=out)
    call_command("audit_verify", stdout=out)
    assert "Sealed 2 events." in out.getvalue()
    assert "The record is whole: 2 seals" in out.getvalue()
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.outcome, event.via) == ("audit.verified", "ok", "cli")
    assert event.detail["head_sequence"] == 2
    assert "command line" in event.actor_name


def test_audit_verify_names_the_first_broken_place_and_fails(out: StringIO) -> None:
    events = write(3)
    seal()
    with triggers.lifted():
        execute("UPDATE audit_auditevent SET actor_name = 'nobody' WHERE id >= %s", events[1].pk)
    with pytest.raises(SystemExit) as exit_:
        call_command("audit_verify", stdout=out)
    assert exit_.value.code == 1
    assert f"BROKEN: Event {events[1].pk} (vm.changed) or its seal, number 2, was altered." in out.getvalue()
    assert AuditEvent.objects.latest("id").outcome == "failed"


def test_audit_verify_speaks_json_and_can_leave_the_record_alone(out: StringIO) -> None:
    write(1)
    seal()
    call_command("audit_verify", "--json", "--no-record", stdout=out)
    report = json.loads(out.getvalue())
    assert report == {
        "ok": True,
        "events": 1,
        "sealed": 1,
        "unsealed": 0,
        "head_sequence": 1,
        "first_break": None,
        "anchor_ok": True,
        "oldest_unsealed_seconds": None,
        "remarks": [],
        "archived": [],
    }
    with triggers.lifted():
        execute("DELETE FROM audit_auditevent")
    out.truncate(0)
    out.seek(0)
    with pytest.raises(SystemExit):
        call_command("audit_verify", "--json", "--no-record", stdout=out)
    found = json.loads(out.getvalue())["first_break"]
    assert (found["kind"], found["sequence"]) == ("event_missing", 1)


def test_a_key_that_others_can_read_is_not_used(out: StringIO) -> None:
    write(1)
    seal()
    Path(settings.SLIPWAY_SEAL_KEY_FILE).chmod(0o644)
    with pytest.raises(CommandError, match="mode 0600"):
        call_command("audit_verify", stdout=out)


def test_the_sealer_says_when_it_cannot_seal(out: StringIO) -> None:
    write(1)
    seal()
    assert AuditSeal.objects.count() == 1
    Path(settings.SLIPWAY_SEAL_KEY_FILE).unlink()
    with pytest.raises(CommandError, match="put it back"):
        call_command("sealer", "--once", stdout=out)
