"""An archive that is killed, refused, and run again: nothing is lost, and it comes to its end."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from audit import archiving, removal
from audit.models import AuditEvent, AuditSeal
from tests.audit.archived import (
    BEFORE,
    archive,
    archive_file,
    export_file,
    old_and_new,
)
from tests.audit.helpers import seal, whole, write
from tests.audit.offline import check_files
from tests.audit.test_processes import Processes, processes

__all__ = ["processes"]  # a fixture

pytestmark = pytest.mark.django_db


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
    old_and_new()
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
    assert check_files([archive_file(), export_file()])["ok"]
    assert not list(archive_file().parent.glob(".*draft"))


def _removed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the first batch of three."""
    old_and_new()
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
    old_and_new()
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
    old_and_new()
    for content in ("precious", "{}\n", ""):
        archive_file().write_text(content)
        with pytest.raises(CommandError, match="is not this archive"):
            archive()
        assert archive_file().read_text() == content
    export_file(archive_file().name)
    with pytest.raises(CommandError, match="does not hold just the seals 1 to 6"):
        archive()
    assert AuditSeal.objects.count() == 10


def test_a_file_altered_before_the_removal_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    old_and_new()
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

    old_and_new()
    with sealer_lock(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).parent):  # a sealer that hangs
        arguments = ["--before", BEFORE, "--to", str(archive_file()), "--reason", "x", "--wait", "0"]
        with pytest.raises(CommandError, match="Nothing was removed"):
            call_command("audit_archive", *arguments, stdout=StringIO())
    assert AuditSeal.objects.count() == 10


# By a real kill, with a sealer at work

FACTS: dict[str, Callable[[], bool]] = {
    "the file is being written": lambda: bool(list(archive_file().parent.glob(".archive-1*"))),
    "the file is there": lambda: archive_file().exists(),
    "the statement is there": lambda: AuditEvent.objects.filter(action="audit.archived").exists(),
    "rows are going": lambda: not AuditSeal.objects.filter(sequence=1).exists(),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", FACTS)
def test_kill_minus_nine_beside_a_sealer_at_work(when: str, processes: Processes) -> None:
    old = 4000
    old_and_new(old=old)
    sealer = processes.sealer()
    processes.wait_for("the sealer at work", lambda: "Sealing" in processes.log(sealer))
    command = ["manage.py", "audit_archive", "--before", BEFORE, "--to", str(archive_file()), "--reason", "old"]
    first = processes.start(*command)
    processes.wait_for(when, FACTS[when])
    first.kill()
    first.wait()
    whole()
    second = processes.start(*command)
    assert second.wait(120) in (0, 1), processes.log(second)
    if second.returncode:  # the first one had come to its end before it was killed
        assert "nothing to archive" in processes.log(second)
    newest = AuditEvent.objects.latest("id").pk
    processes.wait_for("all sealed", lambda: AuditSeal.objects.filter(event_id=newest).exists())
    report = whole()
    assert [(left.first, left.last) for left in report.archived] == [(1, old)]
    assert report.remarks == ()
    assert check_files([archive_file(), export_file()])["ok"]
