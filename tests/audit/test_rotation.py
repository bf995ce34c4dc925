"""Another key takes over: the record stays whole across keys, and the old key makes no seal that passes any more."""

from __future__ import annotations

import json
import os
import stat
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from audit import keys as keyfiles
from audit import rotation, rows, triggers
from audit.anchors import AnchorFile
from audit.canonical import event_bytes
from audit.chain import seal_mac
from audit.export import of_range
from audit.keys import KeyRing, SealKey, coming_file, retired_directory, seal_key
from audit.locks import sealer_lock
from audit.models import AuditEvent, AuditSeal
from audit.sealer import CannotSeal, configured
from audit.verify import Break, BreakKind, verify
from tests.audit.helpers import anchors, execute, key, ring, seal, whole, write
from tests.audit.offline import check_files
from tests.audit.test_processes import Processes, _end, processes

__all__ = ["processes"]  # a fixture

pytestmark = pytest.mark.django_db

FINISHED = 2  # events that a rotation leaves: the intent, and that it was done


def _path() -> Path:
    return Path(settings.SLIPWAY_SEAL_KEY_FILE)


def _rotate() -> str:
    with StringIO() as out:
        call_command("audit_key_rotate", "--reason", "once a year", stdout=out)
        return out.getvalue()


def _three_keys() -> list[str]:
    """A record that three keys sealed, the first 4 events and so on; returns their ids."""
    ids = []
    for _ in range(3):
        write(3)
        seal()
        ids.append(key().id)
        if len(ids) < 3:
            _rotate()
    seal()
    return ids


def _found() -> Break:
    report = verify()
    assert not report.ok
    assert report.first_break is not None
    return report.first_break


def _exported() -> Path:
    path = _path().parent.parent / "export.jsonl"
    path.write_bytes(b"".join(of_range().chunks()))
    return path


def test_a_record_that_three_keys_sealed_is_whole_in_both_verifiers() -> None:
    ids = _three_keys()
    assert len(set(ids)) == 3
    report = whole()
    assert report.sealed == 9 + 2 * FINISHED == report.events
    seen = list(dict.fromkeys(AuditSeal.objects.values_list("key_id", flat=True)))
    assert seen == ids
    given_away = check_files([_exported()])
    assert given_away["ok"], given_away["first_break"]
    assert given_away["sealed"] == report.sealed
    signed = list(dict.fromkeys(json.loads(line)["key_id"] for line in anchors().path.read_text().splitlines()))
    assert signed == ids


def test_it_is_recorded_who_replaced_which_key_and_why() -> None:
    write(1)
    seal()
    old = key().id
    out = _rotate()
    first, second = AuditEvent.objects.filter(action="audit.key_rotated").order_by("id")
    assert (first.outcome, second.outcome) == ("intent", "ok")
    assert first.detail == second.detail == {"old_key_id": old, "new_key_id": key().id}
    assert (first.reason, first.via) == ("once a year", "cli")
    assert f"Key {key().id} seals now; key {old} checks what it sealed." in out


def test_all_key_files_are_for_their_owner_only() -> None:
    _three_keys()
    files = [path for path in _path().parent.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(retired_directory(_path()).stat().st_mode) == 0o700
    assert not coming_file(_path()).exists()


def test_a_lost_old_key_is_named() -> None:
    first, *_ = _three_keys()
    (retired_directory(_path()) / f"{first}.key").unlink()
    found = _found()
    assert first in found.sentence
    assert "put that key back" in found.sentence
    given_away = check_files([_exported()])
    assert not given_away["ok"]
    assert first in given_away["first_break"]["sentence"]
    given_away = check_files([_exported()], anchors=False)
    assert given_away["first_break"]["kind"] == "key_unknown"
    assert first in given_away["first_break"]["sentence"]


def test_a_retired_key_that_others_can_read_is_not_used() -> None:
    first, *_ = _three_keys()
    (retired_directory(_path()) / f"{first}.key").chmod(0o644)
    with pytest.raises(PermissionError, match="0600"):
        verify()


def _reseal(start: int, old: SealKey) -> None:
    """All seals from one on made anew by who has an old key."""
    seals = list(AuditSeal.objects.filter(sequence__gte=start))
    mac = AuditSeal.objects.get(sequence=start - 1).mac
    execute("DELETE FROM audit_auditseal WHERE sequence >= %s", start)
    for row in seals:
        (content,) = rows.unsealed_among([row.event_id])
        fields: dict[str, Any] = {
            "sequence": row.sequence,
            "event_id": row.event_id,
            "previous_mac": mac,
            "sealed_at": row.sealed_at,
        }
        mac = seal_mac(old, event=event_bytes(content), **fields)
        AuditSeal(key_id=old.id, mac=mac, **fields).save()


@pytest.mark.parametrize("start", [2, 5, 6, 10])
def test_who_has_the_old_key_can_neither_alter_the_past_nor_seal_the_present(start: int) -> None:
    write(3)
    seal()
    old = key()
    _rotate()  # the new key seals from 5 on, since the intent is sealed by the old one
    write(6)
    seal()
    with triggers.lifted():
        execute("UPDATE audit_auditevent SET actor_name = 'nobody' WHERE id >= %s", _event_id(start))
        _reseal(start, old)
    found, given_away = _found(), check_files([_exported()])["first_break"]
    taken_over = next(anchor.sequence for anchor in anchors().read(anchors().size()) if anchor.key_id != old.id)
    assert found.kind is (BreakKind.KEY_REPLACED if start > taken_over else BreakKind.ANCHOR_DIFFERS)
    assert given_away["kind"] == found.kind
    assert found.sequence == given_away["sequence"]
    assert (found.sequence or 0) >= start


def _event_id(sequence: int) -> int:
    return int(AuditSeal.objects.get(sequence=sequence).event_id)


def test_an_anchor_by_the_old_key_is_found() -> None:
    write(2)
    seal()
    old = key()
    _rotate()
    seal()
    head = AuditSeal.objects.latest("sequence")
    AnchorFile(anchors().path, KeyRing(old, retired=[key()])).append(sequence=head.sequence, mac=head.mac)
    found = _found()
    assert found.kind is BreakKind.ANCHOR_LINE
    assert "replaced" in found.sentence


def test_a_world_without_the_new_key_is_found_when_the_anchors_were_cut_too() -> None:
    write(2)
    seal()
    kept = anchors().path.read_text()
    _rotate()
    with triggers.lifted():
        execute("DELETE FROM audit_auditseal WHERE sequence > 2")
        execute("DELETE FROM audit_auditevent WHERE id NOT IN (SELECT event_id FROM audit_auditseal)")
    anchors().path.write_text(kept)
    found = _found()
    assert found.kind is BreakKind.ANCHOR_LINE
    assert key().id in found.sentence


def test_an_old_key_put_back_does_not_seal() -> None:
    write(1)
    seal()
    _rotate()
    (old,) = retired_directory(_path()).glob("*.key")
    os.replace(old, _path())
    write(1)
    with pytest.raises(CannotSeal, match="key file holds"):
        seal()


def test_a_replaced_key_that_is_in_use_again_does_not_seal() -> None:
    write(1)
    seal()
    _rotate()
    (old,) = retired_directory(_path()).glob("*.key")
    _path().write_text(old.read_text())
    with pytest.raises(CannotSeal, match="was replaced"):
        seal()


def test_before_the_first_seal_there_is_nothing_to_replace() -> None:
    with pytest.raises(CommandError, match="no key"):
        _rotate()
    assert not AuditEvent.objects.exists()


# Killed, and refused


class _Killed(BaseException):
    pass


def _die(*_: object, **__: object) -> Any:
    raise _Killed


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (rotation, "put_key"),  # the intent is recorded, and that is all
        (rotation, "_retire"),  # the new key lies ready
        (AnchorFile, "append"),  # the old one is among the retired
        (rotation.os, "replace"),  # the anchor by the new key is written
        (rotation, "sync_directory"),
    ],
)
def test_killed_in_the_middle_it_leaves_a_record_that_is_whole_and_goes_on(
    module: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(2)
    seal()
    old = key().id
    with monkeypatch.context() as patched:
        patched.setattr(module, step, _die)
        with pytest.raises(_Killed):
            _rotate()
    whole()
    write(2)
    seal()
    whole()
    if step == "put_key":
        assert key().id == old
    else:
        assert key().id != old, "the next sealer finishes it"
    _rotate()
    write(1)
    seal()
    report = whole()
    assert report.unsealed == 0
    assert key().id != old
    assert check_files([_exported()])["ok"]


def test_killed_while_it_laid_the_key_ready_it_leaves_no_half_key(monkeypatch: pytest.MonkeyPatch) -> None:
    write(1)
    seal()
    with monkeypatch.context() as patched:
        patched.setattr(keyfiles.os, "link", _die)
        with pytest.raises(_Killed):
            _rotate()
    assert not coming_file(_path()).exists()
    _rotate()
    seal()
    whole()


def test_a_full_disk_leaves_the_old_key_sealing(monkeypatch: pytest.MonkeyPatch) -> None:
    write(1)
    seal()
    old = key().id

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(AnchorFile, "append", full)
        with pytest.raises(CommandError, match="old one still seals"):
            _rotate()
    assert key().id == old
    whole()
    seal()
    assert key().id != old
    assert whole().unsealed == 0


# A sealer at work


def test_a_sealer_at_work_takes_the_key_up_between_two_batches() -> None:
    write(2)
    sealer = configured()
    sealer.start()
    old = key().id
    write(2)
    change = rotation.prepare(_path(), lambda _: None)
    sealer.step()
    write(2)
    sealer.step()
    sealer.stop()
    assert change.old_key_id == old
    assert key().id == change.new_key_id
    assert list(AuditSeal.objects.values_list("key_id", flat=True)) == [old] * 2 + [change.new_key_id] * 4
    whole()


def test_when_no_sealer_takes_it_the_command_says_what_to_do(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("One session can take PostgreSQL's advisory lock twice.")
    write(1)
    seal()
    old = key().id
    with sealer_lock(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).parent) as mine:
        assert mine
        with pytest.raises(CommandError, match="restart it"):
            call_command("audit_key_rotate", "--reason", "x", "--wait", "0", stdout=StringIO())
    assert key().id == old
    assert ring().coming is not None


@pytest.mark.django_db(transaction=True)
def test_with_a_sealer_in_its_own_process(processes: Processes) -> None:
    sealer = processes.sealer()
    processes.wait_for("the sealer at work", lambda: "Sealing" in processes.log(sealer))
    write(3)
    processes.wait_for("seals", lambda: AuditSeal.objects.count() == 3)
    old = key().id
    command = processes.start("manage.py", "audit_key_rotate", "--reason", "left the company")
    assert command.wait(60) == 0, processes.log(command)
    write(3)
    processes.wait_for("seals", lambda: AuditSeal.objects.count() == 6 + FINISHED)
    _end(sealer)
    assert key().id != old
    assert AuditSeal.objects.latest("sequence").key_id == key().id
    assert f"key {key().id} seals" in processes.log(sealer)
    assert whole().unsealed == 0


def test_a_verification_that_began_before_a_rotation_knows_the_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    write(2)
    seal()
    began = ring()
    _rotate()
    seal()
    assert began.sealing.id != key().id
    report = verify(keys=began)
    assert report.ok, report.first_break
    assert report.events == 2 + FINISHED


def test_a_key_file_that_is_gone_is_not_made_anew_by_looking() -> None:
    assert seal_key(_path(), create=False) is None
    assert not _path().exists()
    assert keyfiles.key_ring(_path(), create=False) is None
    assert not _path().parent.exists()
