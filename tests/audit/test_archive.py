"""The oldest part leaves the record: proven by a file, a sealed statement and the kept head, and by nothing less."""

from __future__ import annotations

import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from audit import archiving, removal, triggers
from audit.export import of_range
from audit.locks import archive_lock
from audit.models import AuditEvent, AuditSeal
from tests.audit.archived import (
    archive,
    archive_file,
    export_file,
    long_ago,
    old_and_new,
    old_events,
    tell,
)
from tests.audit.helpers import execute, key, seal, whole, write
from tests.audit.offline import check, check_files, exported

pytestmark = pytest.mark.django_db


# The whole way


def test_the_old_part_goes_and_both_verifiers_find_the_rest_whole() -> None:
    old_and_new()
    head = AuditSeal.objects.get(sequence=6).mac
    out = archive()
    assert list(AuditSeal.objects.values_list("sequence", flat=True)) == [7, 8, 9, 10, 11]
    seal()
    report = whole()
    assert (report.events, report.sealed, report.unsealed, report.head_sequence) == (6, 6, 0, 12)
    (archived,) = report.archived
    digest = hashlib.sha256(archive_file().read_bytes()).hexdigest()
    assert (archived.first, archived.last, archived.mac, archived.sha256) == (1, 6, head, digest)
    assert archived.file == str(archive_file())
    assert report.remarks == ()
    assert f"Seals 1 to 6 were archived at {archived.at} into {archive_file()}, SHA-256 {digest}." in out
    both = check_files([archive_file(), export_file()])
    assert both["ok"], both["files"][-1]["first_break"]
    assert [(one["header"]["first_sequence"], one["sealed"]) for one in both["files"]] == [(1, 6), (7, 6)]
    assert any("follows the last one of the file before" in text for text in both["files"][1]["checked"])
    assert any("what came before seal 7" in text for text in check_files([export_file()])["not_checked"])


def test_the_archive_is_for_its_owner_and_what_it_held_is_told() -> None:
    old_and_new()
    archive()
    assert stat.S_IMODE(archive_file().stat().st_mode) == 0o600
    told = AuditEvent.objects.get(action="audit.archived")
    assert (told.reason, told.via, told.object_id) == ("old", "cli", "6")
    assert {"first": 1, "last": 6, "archives": 1, "key_id": key().id}.items() <= told.detail.items()
    trimmed = AuditEvent.objects.get(action="audit.trimmed")
    assert trimmed.detail == {"seals": 6, "archived_to": 6, "stopped_by_hold": None}
    assert not list(archive_file().parent.glob("*.draft"))


def test_audit_verify_says_what_was_archived() -> None:
    old_and_new()
    archive()
    seal()
    with StringIO() as out:
        call_command("audit_verify", "--no-record", stdout=out)
        assert "Seals 1 to 6 were archived at" in out.getvalue()
        assert "The record is whole: 6 seals" in out.getvalue()
    with StringIO() as out:
        call_command("audit_verify", "--no-record", "--json", stdout=out)
        assert json.loads(out.getvalue())["archived"][0]["last"] == 6


def test_archive_after_archive_is_one_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "BATCH", 2)
    with long_ago(timedelta(days=1500)):
        write(5)
        seal()
        _archive_in_the_past("archive-1.jsonl", days=450)
    with long_ago(timedelta(days=900)):
        write(3)
        seal()
        _archive_in_the_past("archive-2.jsonl", days=450)
    write(2)
    seal()
    assert whole().archived[-1].archives == 2
    archive("archive-3.jsonl")
    seal()
    report = whole()
    assert [found.archives for found in report.archived] == [3]
    assert report.archived[0].first > 6
    with StringIO() as out:
        call_command("audit_verify", "--no-record", stdout=out)
        assert f"Seals 1 to {report.archived[0].first - 1} were archived before, in 2 files" in out.getvalue()
    files = [archive_file(f"archive-{number}.jsonl") for number in (1, 2, 3)]
    assert check_files([*files, export_file()])["ok"]
    assert check_files(files)["ok"]
    for wrong in ([files[0], files[2]], [files[1], files[0]], [files[0], files[0]], [export_file(), files[2]]):
        found = check_files(wrong)
        assert not found["ok"]
        assert found["files"][-1]["first_break"]["kind"] == "seal_missing"


def _archive_in_the_past(name: str, *, days: int) -> None:
    before = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    done = archiving.Archiving(file=archive_file(name), reason="x", wait=5, say=lambda _: None)
    done.run(datetime.fromisoformat(before))
    seal()


def test_a_record_of_old_events_alone_can_go_and_the_chain_goes_on() -> None:
    old_events(3)
    archive()
    seal()
    assert whole().sealed == 2
    write(2)
    seal()
    assert whole().head_sequence == 7


def test_exports_of_what_is_left_are_whole() -> None:
    old_and_new()
    archive()
    seal()
    assert check(exported())["ok"]
    since = AuditEvent.objects.order_by("id")[2].at
    assert check(exported(of_range(since=since)))["ok"]
    assert check(exported(of_range(until=since)))["header"]["first_sequence"] == 7


def test_keys_may_change_between_archive_and_rest() -> None:
    old_and_new()
    call_command("audit_key_rotate", "--reason", "x", stdout=StringIO())
    archive()
    seal()
    assert whole().archived[0].last == 6
    assert check_files([archive_file(), export_file()])["ok"]


# What may go


def test_the_last_twelve_months_stay() -> None:
    old_and_new()
    year = timedelta(days=364)
    for young in ((datetime.now(UTC) - year).date().isoformat(), "2999-01-01"):
        with pytest.raises(CommandError, match="last 12 months"):
            archive(before=young)
    with pytest.raises(CommandError, match="last 12 months"):
        call_command("audit_archive", "--keep", "11", "--to", str(archive_file()), "--reason", "x")
    assert AuditSeal.objects.count() == 10


def test_without_a_policy_all_is_kept(settings: Any) -> None:
    old_and_new()
    arguments = ["audit_archive", "--to", str(archive_file()), "--reason", "x"]
    with pytest.raises(CommandError, match="all is kept"):
        call_command(*arguments)
    settings.SLIPWAY_AUDIT_KEEP_MONTHS = 13
    call_command(*arguments, stdout=StringIO())
    assert AuditSeal.objects.order_by("sequence").first().sequence == 7  # type: ignore[union-attr]


def test_nothing_younger_goes_though_older_events_follow_it() -> None:
    old_events(2)
    write(1)
    seal()
    old_events(3)
    archive()
    assert AuditSeal.objects.order_by("sequence").first().sequence == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(("old", "new", "says"), [(0, 0, "Nothing was sealed"), (0, 2, "nothing to archive")])
def test_nothing_to_archive(old: int, new: int, says: str) -> None:
    old_and_new(old, new)
    with pytest.raises(CommandError, match=says):
        archive()
    assert not archive_file().exists()


def test_of_a_broken_record_nothing_is_archived() -> None:
    old_and_new()
    with triggers.lifted():
        execute("UPDATE audit_auditevent SET reason = 'x' WHERE id = (SELECT MAX(id) FROM audit_auditevent)")
    with pytest.raises(CommandError, match="BROKEN"):
        archive()
    assert AuditSeal.objects.count() == 10
    assert not archive_file().exists()


def test_only_one_archives_at_a_time() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("One session can take PostgreSQL's advisory lock twice.")
    old_and_new()
    with archive_lock(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).parent), pytest.raises(CommandError, match="at work"):
        archive()


def test_the_database_lets_nothing_go_that_no_sealed_event_covers() -> None:
    old_and_new()
    tell({"first": 1, "last": 3})  # not sealed yet
    for statement in ("DELETE FROM audit_auditseal WHERE sequence = 1", "DELETE FROM audit_auditevent"):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(statement)
    seal()
    for statement in ("DELETE FROM audit_auditseal WHERE sequence = 4", "DELETE FROM audit_auditevent"):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(statement)
    execute("DELETE FROM audit_auditseal WHERE sequence = 3")
    assert triggers.missing() == []


@pytest.mark.parametrize("number", ["", "x", "-1", "1" * 40, "3; DROP"])
def test_an_event_without_a_sensible_number_opens_nothing(number: str) -> None:
    old_and_new()
    tell({}, number)
    seal()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        execute("DELETE FROM audit_auditseal WHERE sequence = 4")
