"""The oldest part leaves the record: proven by a file, a sealed statement and the kept head, and by nothing less."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from audit import archive as statements
from audit import archiving, removal, triggers
from audit.archive import Archived
from audit.events import EventAction
from audit.export import of_range
from audit.holds import Cover, hold_lift, hold_place
from audit.keys import SealKey
from audit.locks import archive_lock
from audit.models import AuditEvent, AuditSeal
from audit.record import Target, record_alone
from audit.verify import Break, BreakKind, verify
from tests.audit.archived import BEFORE, archive, archive_file, long_ago, old_events
from tests.audit.helpers import execute, key, ring, seal, whole, write
from tests.audit.offline import check, check_files, exported

pytestmark = pytest.mark.django_db


def _found() -> Break:
    report = verify()
    assert not report.ok
    assert report.first_break is not None
    return report.first_break


def _record(old: int = 6, new: int = 4) -> None:
    old_events(old)
    write(new)
    seal()


def _exported(name: str = "export.jsonl") -> Path:
    path = archive_file(name)
    path.write_bytes(b"".join(of_range().chunks()))
    return path


# The whole way


def test_the_old_part_goes_and_both_verifiers_find_the_rest_whole() -> None:
    _record()
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
    both = check_files([archive_file(), _exported()])
    assert both["ok"], both["files"][-1]["first_break"]
    assert [(one["header"]["first_sequence"], one["sealed"]) for one in both["files"]] == [(1, 6), (7, 6)]
    assert any("follows the last one of the file before" in text for text in both["files"][1]["checked"])
    assert any("what came before seal 7" in text for text in check_files([_exported()])["not_checked"])


def test_the_archive_is_for_its_owner_and_what_it_held_is_told() -> None:
    _record()
    archive()
    assert stat.S_IMODE(archive_file().stat().st_mode) == 0o600
    told = AuditEvent.objects.get(action="audit.archived")
    assert (told.reason, told.via, told.object_id) == ("old", "cli", "6")
    assert {"first": 1, "last": 6, "archives": 1, "key_id": key().id}.items() <= told.detail.items()
    trimmed = AuditEvent.objects.get(action="audit.trimmed")
    assert trimmed.detail == {"seals": 6, "archived_to": 6, "stopped_by_hold": None}
    assert not list(archive_file().parent.glob("*.draft"))


def test_audit_verify_says_what_was_archived() -> None:
    _record()
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
    assert check_files([*files, _exported()])["ok"]
    assert check_files(files)["ok"]
    for wrong in ([files[0], files[2]], [files[1], files[0]], [files[0], files[0]], [_exported(), files[2]]):
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
    _record()
    archive()
    seal()
    assert check(exported())["ok"]
    since = AuditEvent.objects.order_by("id")[2].at
    assert check(exported(of_range(since=since)))["ok"]
    assert check(exported(of_range(until=since)))["header"]["first_sequence"] == 7


def test_keys_may_change_between_archive_and_rest() -> None:
    _record()
    call_command("audit_key_rotate", "--reason", "x", stdout=StringIO())
    archive()
    seal()
    assert whole().archived[0].last == 6
    assert check_files([archive_file(), _exported()])["ok"]


# What may go


def test_the_last_twelve_months_stay() -> None:
    _record()
    year = timedelta(days=364)
    for young in ((datetime.now(UTC) - year).date().isoformat(), "2999-01-01"):
        with pytest.raises(CommandError, match="last 12 months"):
            archive(before=young)
    with pytest.raises(CommandError, match="last 12 months"):
        call_command("audit_archive", "--keep", "11", "--to", str(archive_file()), "--reason", "x")
    assert AuditSeal.objects.count() == 10


def test_without_a_policy_all_is_kept(settings: Any) -> None:
    _record()
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
    _record(old, new)
    with pytest.raises(CommandError, match=says):
        archive()
    assert not archive_file().exists()


def test_of_a_broken_record_nothing_is_archived() -> None:
    _record()
    with triggers.lifted():
        execute("UPDATE audit_auditevent SET reason = 'x' WHERE id = (SELECT MAX(id) FROM audit_auditevent)")
    with pytest.raises(CommandError, match="BROKEN"):
        archive()
    assert AuditSeal.objects.count() == 10
    assert not archive_file().exists()


def test_only_one_archives_at_a_time() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("One session can take PostgreSQL's advisory lock twice.")
    _record()
    with archive_lock(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).parent), pytest.raises(CommandError, match="at work"):
        archive()


def test_the_database_lets_nothing_go_that_no_sealed_event_covers() -> None:
    _record()
    _tell({"first": 1, "last": 3})  # not sealed yet
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
    _record()
    _tell({}, number)
    seal()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        execute("DELETE FROM audit_auditseal WHERE sequence = 4")


# Whoever owns the database


def _tell(detail: dict[str, Any], last: str = "3") -> AuditEvent:
    """What anybody can write who can write into the database."""
    return record_alone(EventAction.AUDIT_ARCHIVED, target=Target("audit_archive", last), detail=detail)


def _drop(upto: int) -> None:
    with triggers.lifted():
        execute(
            "DELETE FROM audit_auditevent WHERE id IN (SELECT event_id FROM audit_auditseal WHERE sequence <= %s)", upto
        )
        execute("DELETE FROM audit_auditseal WHERE sequence <= %s", upto)


def _claim(last: int) -> Archived:
    return Archived(1, last, AuditSeal.objects.get(sequence=last).mac, "0" * 64, "/nowhere", "2026-01-01", 1)


def test_rows_removed_without_a_statement_are_found() -> None:
    _record()
    _drop(3)
    found = _found()
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, 1)


@pytest.mark.parametrize("forged_by", ["nobody", "a guess"])
def test_a_statement_by_who_lacks_the_key_is_none_even_when_it_is_sealed(forged_by: str) -> None:
    _record()
    detail = statements.signed(_claim(3), SealKey(forged_by.encode()))
    _tell({**detail, "key_id": key().id} if forged_by == "nobody" else detail)
    seal()
    _drop(3)
    found = _found()
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, 1)


def test_a_right_statement_that_is_not_sealed_counts_for_nothing() -> None:
    _record()
    _tell(statements.signed(_claim(3), key()))
    _drop(3)
    found = _found()
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, 1)
    seal()
    whole()


def test_a_replaced_key_states_nothing() -> None:
    _record()
    old = key()
    call_command("audit_key_rotate", "--reason", "x", stdout=StringIO())
    _tell(statements.signed(_claim(3), old))
    seal()
    _drop(3)
    found = _found()
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, 1)


def test_more_removed_than_was_archived_is_found_with_its_place() -> None:
    _record()
    archive()
    seal()
    _drop(8)
    found = _found()
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, 7)


def test_an_altered_statement_is_found() -> None:
    _record()
    archive()
    seal()
    told = AuditEvent.objects.get(action="audit.archived")
    with triggers.lifted():
        execute(
            "UPDATE audit_auditevent SET detail = replace(detail, '\"last\":6', '\"last\":8') WHERE id = %s", told.pk
        )
    found = _found()
    assert (found.kind, found.sequence) == (BreakKind.SEAL_MISSING, 1)


def test_an_exchanged_head_is_found() -> None:
    _record()
    archive()
    seal()
    with triggers.lifted():
        execute("UPDATE audit_auditseal SET previous_mac = %s WHERE sequence = 7", "f" * 64)
    assert _found().sequence == 7


def test_a_removed_statement_is_found() -> None:
    _record()
    archive()
    seal()
    with triggers.lifted():
        execute("DELETE FROM audit_auditevent WHERE action = 'audit.archived'")
    assert (_found().kind, _found().sequence) == (BreakKind.SEAL_MISSING, 1)


def test_archived_rows_put_back_are_no_break() -> None:
    _record()
    kept = [list(AuditEvent.objects.filter(pk__in=AuditSeal.objects.filter(sequence__lte=6).values("event_id")))]
    seals = list(AuditSeal.objects.filter(sequence__lte=6))
    archive()
    seal()
    AuditEvent.objects.bulk_create(kept[0])
    AuditSeal.objects.bulk_create(seals)
    (remark,) = whole().remarks[-1:]
    assert "Seals 1 to 6 are archived, but still in the record" in remark


def test_the_end_cut_off_after_an_archive_is_found() -> None:
    _record()
    archive()
    seal()
    with triggers.lifted():
        execute("DELETE FROM audit_auditevent")
        execute("DELETE FROM audit_auditseal")
    assert _found().kind is BreakKind.TRUNCATED


def test_a_right_code_is_over_every_field() -> None:
    _record()
    detail = statements.signed(_claim(3), key())
    assert statements.read(1, detail, ring()) is not None
    for name in detail:
        assert statements.read(1, {**detail, name: "9"}, ring()) is None, name
        assert statements.read(1, {k: v for k, v in detail.items() if k != name}, ring()) is None, name
    for rubbish in (None, "x", [], {}, {"code": 5, "key_id": key().id}):
        assert statements.read(1, rubbish, ring()) is None


# Killed, refused, and run again


class _Killed(BaseException):
    pass


def _die(*_: object, **__: object) -> Any:
    raise _Killed


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (archiving, "_write"),
        (archiving.os, "fsync"),
        (archiving.os, "link"),
        (archiving, "sync_directory"),
        (archiving.offline, "verify"),
        (archiving, "record_alone"),
        (archiving.Archiving, "_wait_until_anchored"),
        (archiving, "configured"),
        (archiving, "remove"),
        (removal, "_remove"),
        (removal, "_record"),
    ],
)
def test_killed_between_two_steps_nothing_is_lost_and_running_it_again_finishes(
    module: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _record()
    if step in ("fsync", "link"):
        seal()  # what the sealer would sync is synced
    with monkeypatch.context() as patched:
        patched.setattr(module, step, _die)
        with pytest.raises(_Killed):
            archive()
    whole()
    assert AuditSeal.objects.filter(sequence__lte=6).count() == 6
    seal()
    archive()
    seal()
    report = whole()
    assert [(found.first, found.last) for found in report.archived] == [(1, 6)]
    assert report.archived[0].sha256 == hashlib.sha256(archive_file().read_bytes()).hexdigest()
    assert check_files([archive_file(), _exported()])["ok"]
    assert not list(archive_file().parent.glob(".*draft"))


def _removed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the first batch of three."""
    _record()
    monkeypatch.setattr(removal, "BATCH", 2)
    original = removal._remove
    with monkeypatch.context() as patched:
        patched.setattr(removal, "_remove", lambda first, last: original(first, last) if first == 1 else _die())
        with pytest.raises(_Killed):
            archive()
    assert AuditSeal.objects.order_by("sequence").first().sequence == 3  # type: ignore[union-attr]


def test_killed_in_the_middle_of_the_removal_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _removed_in_part(monkeypatch)
    report = whole()
    assert report.archived[0].last == 6
    assert "Seals 3 to 6 are archived, but still in the record" in report.remarks[-1]
    write(2)
    seal()
    out = archive()
    assert "Going on with the archive" in out
    assert "Removed from the record: 4 seals" in out
    seal()
    assert whole().remarks == ()
    assert AuditEvent.objects.filter(action="audit.archived").count() == 1


def test_without_its_file_a_removal_does_not_go_on_and_a_copy_of_it_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _removed_in_part(monkeypatch)
    archive_file().rename(archive_file("copy.jsonl"))
    with pytest.raises(CommandError, match="Give that file or a copy"):
        archive()
    archive_file("wrong.jsonl").write_text("{}\n")
    with pytest.raises(CommandError, match="Give that file or a copy"):
        archive("wrong.jsonl")
    assert AuditSeal.objects.order_by("sequence").first().sequence == 3  # type: ignore[union-attr]
    archive("copy.jsonl")
    assert AuditSeal.objects.order_by("sequence").first().sequence == 7  # type: ignore[union-attr]


def test_a_lost_file_whose_rows_are_all_there_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    _record()
    with monkeypatch.context() as patched:
        patched.setattr(archiving, "remove", _die)
        with pytest.raises(_Killed):
            archive()
    os.unlink(archive_file())
    archive("again.jsonl")
    seal()
    (archived,) = whole().archived
    assert archived.file == str(archive_file("again.jsonl"))


def test_a_file_that_is_something_else_is_left_alone() -> None:
    _record()
    for content in ("precious", "{}\n", ""):
        archive_file().write_text(content)
        with pytest.raises(CommandError, match="is not this archive"):
            archive()
        assert archive_file().read_text() == content
    _exported(archive_file().name)
    with pytest.raises(CommandError, match="does not hold just the seals 1 to 6"):
        archive()
    assert AuditSeal.objects.count() == 10


def test_a_file_altered_before_the_removal_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _record()
    original = archiving.Archiving._wait_until_anchored

    def spoil(self: Any, statement: Any) -> None:
        original(self, statement)
        archive_file().write_bytes(archive_file().read_bytes().replace(b"reason 1", b"reason 7"))

    monkeypatch.setattr(archiving.Archiving, "_wait_until_anchored", spoil)
    with pytest.raises(CommandError, match="altered since"):
        archive()
    assert AuditSeal.objects.count() == 11


def test_until_the_statement_is_anchored_nothing_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("One session can take PostgreSQL's advisory lock twice.")
    from audit.locks import sealer_lock

    _record()
    with sealer_lock(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).parent):  # a sealer that hangs
        arguments = ["--before", BEFORE, "--to", str(archive_file()), "--reason", "x", "--wait", "0"]
        with pytest.raises(CommandError, match="Nothing was removed"):
            call_command("audit_archive", *arguments, stdout=StringIO())
    assert AuditSeal.objects.count() == 10


# Holds


def test_a_hold_keeps_what_it_covers_and_what_follows() -> None:
    old_events(2)
    old_events(2, name="evidence")
    old_events(2)
    hold = hold_place(name="Case 7", reason="court order", cover=Cover(object="evidence"))
    with pytest.raises(CommandError, match=r"Case 7") as error:
        archive()
    assert "stays in the record" in str(error.value)
    assert AuditSeal.objects.order_by("sequence").first().sequence == 3  # type: ignore[union-attr]
    with pytest.raises(CommandError, match=r"nothing to archive: hold .*Case 7.* covers seal 3"):
        archive("archive-2.jsonl")
    hold_lift(hold.id, reason="settled")
    archive("archive-2.jsonl")
    assert AuditSeal.objects.order_by("sequence").first().sequence == 7  # type: ignore[union-attr]
    seal()
    assert whole().archived[-1].archives == 2


def test_a_hold_placed_after_the_statement_still_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "BATCH", 2)
    old_events(3)
    old_events(1, name="evidence")
    old_events(2)
    original = archiving.remove

    def place_first(*arguments: Any, **named: Any) -> Any:
        hold_place(name="Late", reason="x", cover=Cover(object="evidence"))
        return original(*arguments, **named)

    monkeypatch.setattr(archiving, "remove", place_first)
    with pytest.raises(CommandError, match="Late"):
        archive()
    assert list(AuditSeal.objects.filter(sequence__lte=6).values_list("sequence", flat=True)) == [4, 5, 6]
    trimmed = AuditEvent.objects.get(action="audit.trimmed")
    assert trimmed.detail["seals"] == 3
    assert trimmed.detail["stopped_by_hold"]
    seal()
    assert "Seals 4 to 6 are archived, but still in the record" in whole().remarks[-1]


def test_a_hold_on_everything_lets_nothing_go() -> None:
    _record()
    hold_place(name="All", reason="x", cover=Cover())
    with pytest.raises(CommandError, match="All"):
        archive()
    assert AuditSeal.objects.count() == 10
    assert not archive_file().exists()


def test_a_holds_own_event_stays_while_it_stands() -> None:
    with long_ago():
        write(2)
        hold_place(name="Old", reason="x", cover=Cover(person="nobody at all"))
        write(2)
        seal()
    with pytest.raises(CommandError, match="Old"):
        archive()
    assert AuditSeal.objects.order_by("sequence").first().sequence == 3  # type: ignore[union-attr]
