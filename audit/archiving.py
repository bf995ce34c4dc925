"""Archiving: choose, write, read back, state, wait until that is sealed and anchored, and only then remove.

Whatever kills it between two steps, nothing is lost: rows go only when a statement with a right code is sealed, and
the file with the stated SHA-256 is there. Running it again goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db.models import Min

from audit import archive
from audit.anchors import AnchorFile
from audit.archive import Archived, Statement
from audit.canonical import instant
from audit.events import EventAction
from audit.export import of_archive
from audit.holds import Hold, first_held
from audit.keys import KeyRing, coming_file, key_ring, retired_directory, sync_directory
from audit.locks import archive_lock, sealer_lock
from audit.models import AuditEvent, AuditSeal
from audit.offline import slipway_audit_verify as offline
from audit.record import Target, record_alone
from audit.removal import remove
from audit.sealer import configured
from audit.verify import verify

LOOK_SECONDS = 0.2


class CannotArchive(Exception):
    """Nothing, or nothing more, is removed; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Range:
    """What can go: seals `first` to `last`, their last code; and the hold that keeps what follows, if one does."""

    first: int
    last: int
    mac: str
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Done:
    """What became of it."""

    archived: Archived
    removed: int
    hold: Hold | None


def choose(before: datetime) -> Range:
    """The longest run from the oldest seal on in which every event happened before a time, and no hold covers one.

    Raises CannotArchive when that is none.
    """
    first = AuditSeal.objects.aggregate(first=Min("sequence"))["first"]
    if first is None:
        raise CannotArchive("Nothing was sealed yet.")
    younger = AuditEvent.objects.filter(at__gte=before).order_by().values("id")
    stop = AuditSeal.objects.filter(event_id__in=younger).aggregate(first=Min("sequence"))["first"]
    last = (AuditSeal.objects.latest("sequence").sequence if stop is None else stop - 1) or 0
    held = first_held(first, last) if last >= first else None
    hold = None
    if held is not None:
        last, hold = held[0] - 1, held[1]
    if last < first:
        why = f"{hold} covers seal {first}" if hold else f"seal {first} is of {before:%Y-%m-%d} or younger"
        raise CannotArchive(f"There is nothing to archive: {why}.")
    return Range(first, last, AuditSeal.objects.get(sequence=last).mac, hold)


class Archiving:
    """One run, in `archive_lock`. `wait` seconds for the sealer; `say` is told what happens."""

    def __init__(self, *, file: Path, reason: str, wait: float, say: Callable[[str], object]) -> None:
        self._file = file.absolute()
        self._reason = reason
        self._wait = wait
        self._say = say
        self._key_path = Path(settings.SLIPWAY_SEAL_KEY_FILE)
        self._anchor_path = Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE)
        ring = key_ring(self._key_path, create=False)
        if ring is None:
            raise CannotArchive(f"The seal key is not in {self._key_path}: archive where the sealer works.")
        self._keys: KeyRing = ring

    def run(self, before: datetime) -> Done:
        """Archive what happened before a time; or finish what an earlier run began. Raises CannotArchive, OSError."""
        with archive_lock(self._anchor_path.parent) as mine:
            if not mine:
                raise CannotArchive("Another archiving is at work.")
            self._must_be_whole()
            begun = self._begun()
            if begun is not None:
                return self._finish(begun, None)
            chosen = choose(before)
            return self._finish(self._state(chosen), chosen.hold)

    def _must_be_whole(self) -> None:
        report = verify(keys=self._keys)
        if report.first_break is not None:
            raise CannotArchive(f"The record is BROKEN, and nothing of it is archived: {report.first_break.sentence}")

    def _begun(self) -> Statement | None:
        """The statement whose rows are still there. Its file must be there, too, or none of its rows be gone."""
        first = AuditSeal.objects.aggregate(first=Min("sequence"))["first"] or 1
        unfinished = [s for s in archive.statements(self._keys) if s.archived.last >= first and self._by_its_key(s)]
        if not unfinished:
            return None
        newest = unfinished[-1]
        for place in (Path(newest.archived.file), self._file):
            if place.exists() and sha256_of(place) == newest.archived.sha256:
                self._say(f"Going on with the archive {place}, of event {newest.event_id}.")
                self._file = place
                return newest
        if newest.archived.first == first:
            return None  # nothing was removed: begin again
        raise CannotArchive(
            f"Event {newest.event_id} says that seals {newest.archived.first} to {newest.archived.last} are in "
            f"{newest.archived.file}, and some were removed. Give that file or a copy of it (--to)."
        )

    def _by_its_key(self, statement: Statement) -> bool:
        """Whether the verification will count it: not where the key was replaced between statement and seal."""
        seal = AuditSeal.objects.filter(event_id=statement.event_id).first()
        return statement.key_id == (seal.key_id if seal else self._keys.sealing.id)

    def _state(self, chosen: Range) -> Statement:
        if self._file.exists():
            self._say(f"{self._file} is there already; reading it.")
        else:
            _write(chosen, self._file)
        self._check(chosen)
        told = (statement.archived for statement in archive.statements(self._keys))
        earlier = max((archived.archives for archived in told if archived.last < chosen.first), default=0)
        archived = Archived(
            first=chosen.first,
            last=chosen.last,
            mac=chosen.mac,
            sha256=sha256_of(self._file),
            file=str(self._file),
            at=instant(datetime.now(UTC)),
            archives=earlier + 1,
        )
        event = record_alone(
            EventAction.AUDIT_ARCHIVED,
            target=Target(type="audit_archive", id=str(chosen.last), name=self._file.name),
            reason=self._reason,
            detail=archive.signed(archived, self._keys.sealing),
        )
        self._say(f"Seals {chosen.first} to {chosen.last} are in {self._file}; event {event.pk} says so.")
        return Statement(event.pk, self._keys.sealing.id, archived)

    def _check(self, chosen: Range) -> None:
        """The stand-alone verifier reads the file: whole, and exactly these seals."""
        keys = [self._key_path, coming_file(self._key_path), *retired_directory(self._key_path).glob("*.key")]
        options = argparse.Namespace(
            export=[self._file],
            selection=False,
            key=[key for key in keys if key.exists()],
            anchors=self._anchor_path,
            syslog=None,
        )
        try:
            found = offline.verify(options)
        except offline.Unusable as error:
            raise CannotArchive(f"{self._file} is not this archive: {error}") from error
        if not found["ok"]:
            raise CannotArchive(f"{self._file} is not whole: {found['first_break']['sentence']}")
        header = found["header"]
        held = header["first_sequence"], header["last_sequence"], found["sealed"], found["unsealed"], found["last_mac"]
        if held != (chosen.first, chosen.last, chosen.last - chosen.first + 1, 0, chosen.mac):
            raise CannotArchive(f"{self._file} does not hold just the seals {chosen.first} to {chosen.last}.")

    def _wait_until_anchored(self, statement: Statement) -> None:
        """Until the statement is sealed and a line of the anchor file names a seal that is not before its own."""
        anchors = AnchorFile(self._anchor_path, self._keys)
        deadline = time.monotonic() + self._wait
        while True:
            seal = AuditSeal.objects.filter(event_id=statement.event_id).first()
            last = anchors.last()
            if seal is not None and last is not None and last.anchor.sequence >= seal.sequence:
                break
            with sealer_lock(self._anchor_path.parent) as mine:
                if mine:
                    configured().start()
                    continue
            if time.monotonic() > deadline:
                raise CannotArchive("The sealer has not anchored it yet. Nothing was removed; run this again.")
            time.sleep(LOOK_SECONDS)
        if seal.key_id != statement.key_id:
            raise CannotArchive("The seal key was replaced meanwhile. Nothing was removed; run this again.")

    def _finish(self, statement: Statement, hold: Hold | None) -> Done:
        self._wait_until_anchored(statement)
        if sha256_of(self._file) != statement.archived.sha256:
            raise CannotArchive(f"{self._file} was altered since. Nothing was removed.")
        removed, stopped_by = remove(statement.archived, reason=self._reason)
        return Done(statement.archived, removed, stopped_by or hold)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _write(chosen: Range, file: Path) -> None:
    """Whole or not at all, for its owner only, on the disk when this returns. Raises OSError."""
    draft = file.with_name(f".{file.name}.draft")
    draft.unlink(missing_ok=True)  # of a run that was killed
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            for chunk in of_archive(chosen.first, chosen.last, {"archive": True}).chunks():
                handle.write(chunk)
            handle.flush()
            os.fsync(handle.fileno())
        os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(file.parent)
