"""The sealer: gives each committed event its number and its code, and writes the head down outside the database.

Only one works at a time (`audit.locks`). Events are sealed in the order of their ids, but on PostgreSQL a transaction
that took a lower id may commit after one with a higher id; such an event gets a later number, and none is passed over:
the ids that were skipped are looked at again in each round for a minute, and all ids in a sweep now and then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from audit import rows
from audit.anchors import AnchorFile
from audit.canonical import EVENT_COLUMNS, Unreadable, event_bytes
from audit.chain import GENESIS, seal_mac
from audit.events import EventAction
from audit.keys import KeyRing, coming_file, key_ring
from audit.models import AuditSeal
from audit.rotation import NotYet, take_up

log = logging.getLogger(__name__)

BATCH = 1000  # events in one transaction; some tens of milliseconds
SWEEP_IDS = 50_000  # found by one search of a sweep
ANCHOR_SECONDS = 60.0
ANCHOR_RETRY_SECONDS = 10.0
SWEEP_SECONDS = 30.0
#: A sweep reads both tables' indexes; on a long record it is made so rarely that it takes at most this share of time.
SWEEP_SHARE = 0.02
GAP_SECONDS = 60.0
MAX_GAPS = 2000
_ACTION = EVENT_COLUMNS.index("action")


class CannotSeal(RuntimeError):
    """The sealer must not go on: its key is missing, or is not the one that the record was sealed with."""


class Head(NamedTuple):
    """The end of the chain."""

    sequence: int
    mac: str


class Gaps:
    """Ids that were passed over because a higher one was committed first. Kept for a while: most were rolled back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}

    def note(self, after: int, ids: Sequence[int]) -> None:
        """Remember the ids between `after` and the first of `ids`, and between each of these and the next."""
        now = self._clock()
        for lower, upper in zip([after, *ids], ids, strict=False):
            for missing in range(max(lower + 1, upper - MAX_GAPS), upper):
                self._since[missing] = now
        for surplus in list(self._since)[: max(0, len(self._since) - MAX_GAPS)]:
            del self._since[surplus]

    def waiting(self) -> list[int]:
        """The ids that may still appear."""
        oldest = self._clock() - GAP_SECONDS
        self._since = {gap: since for gap, since in self._since.items() if since >= oldest}
        return sorted(self._since)

    def close(self, ids: Sequence[int]) -> None:
        """Forget ids that appeared."""
        for gap in ids:
            self._since.pop(gap, None)


class Sealer:
    """One sealer at work, used inside `sealer_lock()`: `start()`, then `step()` again and again, then `stop()`."""

    def __init__(self, keys: KeyRing, anchors: AnchorFile, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._anchors = anchors
        self._clock = clock
        self._gaps = Gaps(clock)
        self._head: Head | None = None
        self._anchored: Head | None = None
        self._highest = 0
        self._anchor_due = self._sweep_due = self._rotation_due = 0.0

    def start(self) -> int:
        """Take up the chain where the database has its end, seal what waits and write the head down.

        Returns the number of events sealed. Raises CannotSeal and database errors.
        """
        self._head = _database_head(self._keys)
        self._highest = AuditSeal.objects.aggregate(highest=Max("event_id"))["highest"] or 0
        self._compare_with_last_anchor(self._head)
        # Before the first seal, so that a record with seals always has its anchor file.
        self._anchor()
        self._rotate_if_asked()
        sealed = self._sweep()
        self._anchor()
        return sealed

    def step(self) -> int:
        """Seal what was committed since; returns how many events.

        Raises database errors, after which a new Sealer must be started.
        """
        self._rotate_if_asked()
        sealed = self._sweep() if self._clock() >= self._sweep_due else self._look()
        self._anchor_if_due()
        return sealed

    def stop(self) -> int:
        """Seal what is there and write the head down. Returns how many events were sealed."""
        sealed = self._sweep()
        self._anchor()
        return sealed

    def _look(self) -> int:
        return self._seal_late() + self._seal(rows.events_after(self._highest, BATCH))

    def _seal_late(self) -> int:
        return self._seal(rows.unsealed_among(self._gaps.waiting()))

    def _sweep(self) -> int:
        began = self._clock()
        sealed, after = 0, rows.LOWEST
        while waiting := rows.unsealed_ids(after, SWEEP_IDS):
            for start in range(0, len(waiting), BATCH):
                sealed += self._seal(rows.unsealed_among(waiting[start : start + BATCH])) + self._seal_late()
                self._anchor_if_due()
            after = waiting[-1]
        now = self._clock()
        self._sweep_due = now + max(SWEEP_SECONDS, (now - began) / SWEEP_SHARE)
        return sealed

    def _seal(self, batch: Sequence[Sequence[Any]]) -> int:
        events = list(_readable(batch))
        if events:
            # The rows were read outside the transaction: they can't change, and SQLite's write lock is held for less.
            with transaction.atomic():
                head = _database_head(self._keys)
                if head != self._head:
                    self._protest(head)
                seals = self._chain(head, events, timezone.now())
                AuditSeal.objects.bulk_create(seals)
            self._head = Head(seals[-1].sequence, seals[-1].mac)
            if any(row[_ACTION] == EventAction.AUDIT_ARCHIVED for row in batch):
                self._anchor_due = 0.0  # rows wait for this one to be written down
        self._passed([rows.event_id(row) for row in batch])
        return len(events)

    def _chain(self, head: Head, events: Sequence[tuple[int, bytes]], now: datetime) -> list[AuditSeal]:
        seals = []
        sequence, mac = head
        key = self._keys.sealing
        for event_id, content in events:
            sequence, previous = sequence + 1, mac
            mac = seal_mac(
                self._keys.sealing,
                sequence=sequence,
                event_id=event_id,
                previous_mac=previous,
                sealed_at=now,
                event=content,
            )
            seals.append(
                AuditSeal(
                    sequence=sequence,
                    event_id=event_id,
                    previous_mac=previous,
                    mac=mac,
                    key_id=key.id,
                    sealed_at=now,
                )
            )
        return seals

    def _passed(self, ids: Sequence[int]) -> None:
        self._gaps.close(ids)
        new = [event_id for event_id in ids if event_id > self._highest]
        if new:
            self._gaps.note(self._highest, new)
            self._highest = new[-1]

    def _protest(self, found: Head) -> None:
        """Somebody changed the end of the chain. Write down what it was, so that the verification finds the place."""
        if self._head is not None:
            log.error("The record ended at seal %d; now it ends at seal %d.", self._head.sequence, found.sequence)
            self._anchor()

    def _compare_with_last_anchor(self, head: Head) -> None:
        last = self._anchors.last()
        if last is None:
            if head.sequence:
                log.error("The record has seals, but no anchor file at %s; run audit_verify.", self._anchors.path)
            return
        self._anchored = Head(last.anchor.sequence, last.anchor.mac)
        found = AuditSeal.objects.filter(sequence=last.anchor.sequence).values_list("mac", flat=True).first() or GENESIS
        if found != last.anchor.mac:
            log.error("The record lacks seal %d of its last anchor; run audit_verify.", last.anchor.sequence)

    def _rotate_if_asked(self) -> None:
        """Take up the key that was laid ready. While the disk refuses, the old one goes on, and it is tried again."""
        path = Path(settings.SLIPWAY_SEAL_KEY_FILE)
        if self._head is None or self._clock() < self._rotation_due or not coming_file(path).exists():
            return
        self._anchor()
        try:
            turned = take_up(path, self._anchors.path, self._keys, sequence=self._head.sequence, mac=self._head.mac)
        except NotYet as error:
            log.error("The new seal key can't be taken up yet: %s", error)
            self._rotation_due = self._clock() + ANCHOR_RETRY_SECONDS
            return
        if turned is not None:
            self._keys, self._anchors = turned, AnchorFile(self._anchors.path, turned)
            self._anchored = self._head
            log.info("From seal %d on, key %s seals.", self._head.sequence + 1, turned.sealing.id)

    def _anchor_if_due(self) -> None:
        if self._clock() >= self._anchor_due:
            self._anchor()

    def _anchor(self) -> None:
        """Write the head down if it moved. A failure is logged and tried again: to stop sealing would be worse."""
        head = self._head
        pause = ANCHOR_SECONDS
        if head is not None and head != self._anchored:
            try:
                self._anchors.append(sequence=head.sequence, mac=head.mac)
                self._anchored = head
            except OSError:
                log.exception("The head of the record can't be written to %s.", self._anchors.path)
                pause = ANCHOR_RETRY_SECONDS
        self._anchor_due = self._clock() + pause


def configured() -> Sealer:
    """A sealer with the key and the anchor file of the settings; the key is made when nothing was sealed yet.

    Raises CannotSeal when the key is missing though the record has seals.
    """
    _commit_to_disk()
    path = Path(settings.SLIPWAY_SEAL_KEY_FILE)
    keys = key_ring(path, create=not AuditSeal.objects.exists())
    if keys is None:
        raise CannotSeal(f"The record has seals, but the key they were made with is not in {path}: put it back.")
    if keys.sealing.id in keys.retired_ids and keys.coming is None:
        raise CannotSeal(f"Key {keys.sealing.id} in {path} was replaced: put the one back that came after it.")
    return Sealer(keys, AnchorFile(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE), keys))


def _commit_to_disk() -> None:
    """Make this session's commits wait for the disk, whatever the installation chose for speed.

    Else a power cut could take seals back that an anchor already tells of, and that would look like tampering.
    """
    if connection.in_atomic_block:
        return  # too late for this transaction
    setting = {"sqlite": "PRAGMA synchronous = FULL", "postgresql": "SET synchronous_commit = on"}
    with connection.cursor() as cursor:
        cursor.execute(setting[connection.vendor])


def _database_head(keys: KeyRing) -> Head:
    last = AuditSeal.objects.order_by("-sequence").values_list("sequence", "mac", "key_id").first()
    if last is None:
        return Head(0, GENESIS)
    sequence, mac, key_id = last
    if keys.get(key_id) is None:
        raise CannotSeal(f"The record was sealed with key {key_id}; the key file holds key {keys.sealing.id}.")
    return Head(sequence, mac)


def _readable(batch: Sequence[Sequence[Any]]) -> Iterator[tuple[int, bytes]]:
    """Id and canonical bytes of each event. One that Slipway can't have written stays without a seal, and shows so."""
    for row in batch:
        try:
            yield rows.event_id(row), event_bytes(row)
        except Unreadable as error:
            log.error("Event %d is not sealed, because Slipway didn't write it: %s.", rows.event_id(row), error)
