"""Exports: what the lines hold, which events a range takes, and what the record tells of an export."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit import export as exporting
from audit.canonical import of_event
from audit.events import EventAction, Outcome
from audit.export import Tally, ids_of, of_range, of_selection, told
from audit.models import AuditEvent, AuditSeal
from tests.audit.helpers import seal, write
from tests.audit.offline import clean, exported

pytestmark = pytest.mark.django_db


def write_at(at: datetime) -> AuditEvent:
    event = AuditEvent(at=at, action="vm.changed", outcome="ok", actor_kind="user", via="web")
    event.save()
    return event


def test_the_lines_hold_every_sealed_column_as_it_was_sealed() -> None:
    events = write(3, name='İ "\\\u202e\n😀')
    seal()
    header, *records, trailer = exported()
    for event, record, row in zip(events, records, AuditSeal.objects.all(), strict=True):
        assert record["event"] == json.loads(of_event(event))
        assert record["seal"]["mac"] == row.mac
        assert record["seal"]["previous_mac"] == row.previous_mac
        assert record["seal"]["sequence"] == row.sequence
    head = {"sequence": 3, "mac": AuditSeal.objects.get(sequence=3).mac}
    assert header["head"] == trailer["head"] == head
    assert (header["first_sequence"], header["last_sequence"], header["previous_mac"]) == (1, 3, "0" * 64)
    assert (trailer["events"], trailer["sealed"], trailer["unsealed"]) == (3, 3, 0)


@pytest.mark.parametrize("page", [1, 3, 2000])
def test_pages_do_not_show(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(exporting, "PAGE", page)
    write(7)
    seal()
    write(5)
    records = exported()[1:-1]
    assert [record["seal"] and record["seal"]["sequence"] for record in records] == [*range(1, 8), *[None] * 5]
    assert len({record["event"]["id"] for record in records}) == 12
    clean(exported())


def test_what_waits_for_the_sealer_is_there_and_said_to_wait() -> None:
    assert clean(exported())["sealed"] == 0
    write(2)
    report = clean(exported())
    assert (report["sealed"], report["unsealed"]) == (0, 2)
    assert any("2 events that waited" in what for what in report["not_checked"])


def test_a_range_has_no_gap_and_starts_from_the_seal_before_it() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [0, 1, 2, 3, 9, 4, 5, 6]  # the fifth to be written tells of a later time
    for hour in hours:
        write_at(start + timedelta(hours=hour))
    seal()
    header, *records, _ = lines = exported(of_range(since=start + timedelta(hours=2), until=start + timedelta(hours=5)))
    assert [record["seal"]["sequence"] for record in records] == [3, 4, 5, 6]
    assert header["previous_mac"] == AuditSeal.objects.get(sequence=2).mac
    clean(lines)
    assert exported(of_range(since=start + timedelta(hours=6)))[0]["last_sequence"] == 8
    assert exported(of_range(until=start + timedelta(hours=2)))[0]["first_sequence"] == 1
    nothing = exported(of_range(since=start + timedelta(days=2)))
    assert (nothing[0]["first_sequence"], len(nothing)) == (None, 2)
    clean(nothing)


def test_a_selection_has_just_its_events_each_with_its_seal() -> None:
    events = write(6)
    seal()
    waiting = write(1)
    chosen = [events[1], events[2], events[5], *waiting]
    ids = ids_of(AuditEvent.objects.filter(pk__in=[event.pk for event in chosen]))
    lines = exported(of_selection(ids, {"who": "ines"}))
    assert [record["event"]["id"] for record in lines[1:-1]] == [event.pk for event in chosen]
    report = clean(lines, selection=True)
    assert (report["sealed"], report["unsealed"]) == (3, 1)
    assert any("1 gaps" in what for what in report["not_checked"])


def test_a_page_of_events_costs_one_statement(django_assert_num_queries: object) -> None:
    write(50)
    seal()
    ids = ids_of(AuditEvent.objects.all())
    with django_assert_num_queries(2):  # type: ignore[operator]
        assert len(exported(of_selection(ids, {}))) == 52


# The record of an export


def test_an_export_is_recorded_before_it_starts_and_when_it_is_complete() -> None:
    tally = Tally(events=4)
    chunks = told([b"one", b"two"], tally, {"format": "csv", "query": {"who": "ines"}})
    intent = AuditEvent.objects.latest("id")
    assert (intent.action, intent.outcome) == (EventAction.AUDIT_EXPORTED, Outcome.INTENT)
    assert intent.detail == {"format": "csv", "query": {"who": "ines"}}
    assert next(chunks) == b"one"
    assert AuditEvent.objects.latest("id") == intent
    assert list(chunks) == [b"two"]
    done = AuditEvent.objects.latest("id")
    assert (done.outcome, done.detail["count"]) == (Outcome.OK, 4)
    assert done.detail["sha256"] == hashlib.sha256(b"onetwo").hexdigest()


def test_an_export_that_was_broken_off_is_recorded_as_that() -> None:
    chunks = told(iter([b"one", b"two", b"three"]), Tally(events=1), {})
    next(chunks)
    chunks.close()
    assert AuditEvent.objects.latest("id").outcome == Outcome.FAILED
    with pytest.raises(ZeroDivisionError):
        list(told((b"" for _ in [1 // 0 for _ in "x"]), Tally(), {}))


def test_an_export_that_cannot_be_recorded_lacks_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = told([b"one", b"two"], Tally(), {})

    def refuse(*args: object, **facts: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(exporting, "record_alone", refuse)
    assert next(chunks) == b"one"
    with pytest.raises(OSError, match="no space"):
        next(chunks)


# The command


def test_the_command_writes_a_file_that_its_record_vouches_for(tmp_path: Path) -> None:
    write(3)
    seal()
    out, to = StringIO(), tmp_path / "record.jsonl"
    call_command("audit_export", "--to", str(to), stdout=out)
    event = AuditEvent.objects.latest("id")
    digest = hashlib.sha256(to.read_bytes()).hexdigest()
    assert (event.action, event.outcome, event.via) == (EventAction.AUDIT_EXPORTED, Outcome.OK, "cli")
    assert (event.detail["sha256"], event.detail["count"], event.detail["format"]) == (digest, 3, "jsonl")
    assert digest in out.getvalue()
    assert "3 events, seals 1 to 3" in out.getvalue()
    assert os.stat(to).st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("*record*")] == ["record.jsonl"]
    clean(json.loads(line) for line in to.read_bytes().splitlines())


def test_the_command_takes_a_time_and_no_file_that_is_there(tmp_path: Path) -> None:
    write_at(timezone.now() - timedelta(days=3))
    write(2)
    seal()
    to = tmp_path / "part.jsonl"
    since = (timezone.now() - timedelta(days=1)).isoformat()
    call_command("audit_export", "--since", since, "--to", str(to), stdout=StringIO())
    assert json.loads(to.read_bytes().splitlines()[0])["first_sequence"] == 2
    for arguments, said in (
        (["--to", str(to)], "is there already"),
        (["--to", str(tmp_path / "no" / "folder")], "can't be written"),
        (["--to", str(tmp_path / "x"), "--until", "yesterday"], "is not a time"),
    ):
        with pytest.raises(CommandError, match=said):
            call_command("audit_export", *arguments, stdout=StringIO())
