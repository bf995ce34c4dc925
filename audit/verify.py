"""Verification: compute every code again from every stored column, and compare the chain with its anchors.

Reads in pages, so that memory does not grow with the record. Stops at the first broken place.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Max, Min

from audit import archive, rows, triggers
from audit.anchors import Anchor, AnchorFile, BadLine
from audit.archive import Archived, Statement
from audit.canonical import EVENT_COLUMNS, Unreadable, event_bytes, instant
from audit.chain import GENESIS, seal_mac
from audit.events import EventAction
from audit.keys import KeyRing, SealKey, key_ring
from audit.models import AuditEvent, AuditSeal
from audit.syslog_lines import SyslogLines
from audit.values import line

PAGE = 2000
#: A running sealer passes over nothing for longer than this, but an event of a transaction that is open that long.
UNSEALED_GRACE = timedelta(seconds=60)
#: Beyond this, an event that is sealed after a younger one is remarked upon: no transaction is open that long.
OUT_OF_TIME = timedelta(minutes=10)
_AT = EVENT_COLUMNS.index("at")
_ACTION = EVENT_COLUMNS.index("action")
_ARCHIVED = EventAction.AUDIT_ARCHIVED.value


class BreakKind(enum.StrEnum):
    """In which way the record is broken."""

    KEY_MISSING = "key_missing"
    KEY_UNKNOWN = "key_unknown"
    KEY_REPLACED = "key_replaced"
    SEAL_MISSING = "seal_missing"
    LINK = "link"
    EVENT_MISSING = "event_missing"
    ALTERED = "altered"
    UNSEALED = "unsealed"
    ANCHORS_MISSING = "anchors_missing"
    ANCHOR_LINE = "anchor_line"
    ANCHOR_DIFFERS = "anchor_differs"
    TRUNCATED = "truncated"


_ANCHOR_KINDS = frozenset(
    {BreakKind.ANCHORS_MISSING, BreakKind.ANCHOR_LINE, BreakKind.ANCHOR_DIFFERS, BreakKind.TRUNCATED}
)


@dataclass(frozen=True, slots=True)
class Break:
    """The first broken place. `sequence` and `event_id` are None where the place has none."""

    kind: BreakKind
    sequence: int | None
    event_id: int | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    `events` are in the table; `sealed` were checked, up to the first break if there is one; `unsealed` wait for the
    sealer, the oldest for `oldest_unsealed_seconds`. `anchor_ok`: every anchor up to the break agrees with the chain.
    `remarks` are no breaks but worth a look, such as triggers that are not there. `archived` are the ranges that left
    the record, as far as it still tells of them.
    """

    ok: bool
    events: int
    sealed: int
    unsealed: int
    head_sequence: int
    first_break: Break | None
    anchor_ok: bool
    oldest_unsealed_seconds: float | None
    remarks: tuple[str, ...] = ()
    archived: tuple[Archived, ...] = ()


class _Broken(Exception):
    def __init__(
        self, kind: BreakKind, sentence: str, sequence: int | None = None, event_id: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.place = Break(kind, sequence, event_id, sentence)


def verify(*, keys: KeyRing | None = None, anchor_file: Path | None = None, syslog: Sequence[Path] = ()) -> Report:
    """Verify the whole record; the keys and the anchor file are those of the settings unless given.

    With files of syslog lines, the anchors in these are taken instead of the anchor file. Never writes. Raises
    PermissionError when others can read a key file, OSError for a file that can't be read, and database errors.
    """
    keys = keys or key_ring(Path(settings.SLIPWAY_SEAL_KEY_FILE), create=False)
    scan = _Scan()
    found: Break | None = None
    try:
        scan.run(keys, anchor_file or Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE), syslog)
    except _Broken as broken:
        found = broken.place
    waiting = _waiting()
    if found is None and waiting.misplaced is not None:
        found = _put_in_behind(waiting.misplaced)
    return Report(
        ok=found is None,
        events=AuditEvent.objects.count(),
        sealed=scan.checked,
        unsealed=waiting.events,
        head_sequence=AuditSeal.objects.aggregate(head=Max("sequence"))["head"] or 0,
        first_break=found,
        anchor_ok=found is None or found.kind not in _ANCHOR_KINDS,
        oldest_unsealed_seconds=_age(waiting.oldest_at),
        remarks=(*scan.remarks(), *(f"The trigger {name} is not in the database." for name in triggers.missing())),
        archived=scan.archived(),
    )


class _Scan:
    """One walk along the chain and the anchors side by side."""

    def __init__(self) -> None:
        self.checked = 0
        self._last = 0
        self._mac = GENESIS
        self._kept = 1
        self._told: dict[int, Statement] = {}
        self._proven: list[Statement] = []
        self._latest, self._earliest = "", ""
        self._out_of_time = 0
        self._first_out_of_time: tuple[int, int] | None = None
        self._keys: KeyRing | None = None
        self._key: SealKey | None = None
        self._key_id = ""
        self._replaced: set[str] = set()
        self._missing_lines = 0

    def run(self, keys: KeyRing | None, path: Path, syslog: Sequence[Path] = ()) -> None:
        """Walk to the end. Raises _Broken at the first place that is not as the sealer left it."""
        first = AuditSeal.objects.aggregate(first=Min("sequence"))["first"]
        if keys is None:
            if first is not None:
                raise _Broken(BreakKind.KEY_MISSING, "The record has seals, but the key that checks them is not there.")
            return
        self._keys = keys
        # How long the anchor file is now, before the chain is read: what it says then, the chain must already hold.
        logged = SyslogLines(syslog, keys) if syslog else None
        sealed = first is not None
        anchors = _logged(logged, sealed=sealed) if logged else _anchors(AnchorFile(path, keys), sealed=sealed)
        anchor = self._next_anchor(anchors, at=0, mac=GENESIS, pending=None)
        if first is not None and first < 1:
            raise _Broken(BreakKind.SEAL_MISSING, f"There is a seal with the number {first}; the first is 1.", first)
        if first is not None:
            self._told = {statement.event_id: statement for statement in archive.statements(keys)}
            anchor = self._begin(first, anchors, anchor)
        for seal, event in rows.sealed(PAGE):
            self._check(seal, event)
            if anchor is not None and anchor.sequence == self._last:
                anchor = self._next_anchor(anchors, at=self._last, mac=self._mac, pending=anchor)
        if anchor is not None:
            raise _Broken(
                BreakKind.TRUNCATED,
                f"The record ends at seal {self._last}, but at {anchor.at} it held seal {anchor.sequence}: "
                "its end was cut off, or an old copy was put back.",
                self._last + 1,
            )
        if self._kept > 1:
            self._must_be_archived(self._proven)
        if logged is not None:
            self._missing_lines = logged.missing  # as far as a syslog can tell: it may begin later, and lose lines
        elif keys.retired_ids and keys.sealing.id not in {self._key_id, *self._replaced}:
            sentence = f"The line of the anchor file with which key {keys.sealing.id} took the sealing over is missing."
            raise _Broken(BreakKind.ANCHOR_LINE, sentence)

    def remarks(self) -> Iterator[str]:
        """What is no break, because an honest accident explains it too."""
        archived = max((statement.archived.last for statement in self._proven), default=0)
        if archived >= self._kept:
            yield f"Seals {self._kept} to {archived} are archived, but still in the record: run audit_archive again."
        if self._missing_lines:
            yield f"The syslog lacks anchors before one that it holds, at {self._missing_lines} places."
        if self._first_out_of_time is not None:
            event_id, sequence = self._first_out_of_time
            yield (
                f"Events that happened over 10 minutes before one sealed earlier: {self._out_of_time}, the first is "
                f"event {event_id}, seal {sequence}. A clock was set back, or they were put in later."
            )

    def archived(self) -> tuple[Archived, ...]:
        """The ranges that are gone, or partly gone, by the proven statements that are left; the newest for each."""
        gone = {s.archived.last: s.archived for s in self._proven if s.archived.first < self._kept}
        return tuple(gone[last] for last in sorted(gone))

    def _begin(self, first: int, anchors: Iterator[Anchor], anchor: Anchor | None) -> Anchor | None:
        """Start at the first seal kept, behind the code that it names; returns the first anchor that is not before."""
        self._kept, self._last = first, first - 1
        if first == 1:
            return anchor
        self._must_be_archived(list(self._told.values()))
        self._mac = AuditSeal.objects.get(sequence=first).previous_mac
        for statement in self._told.values():
            if statement.archived.last == first - 1 and statement.archived.mac != self._mac:
                sentence = f"Seal {first} does not follow the last of the archived ones, seal {first - 1}."
                raise _Broken(BreakKind.LINK, sentence, first)
        while anchor is not None and anchor.sequence < first - 1:
            if anchor.key_id != self._key_id:
                self._take_up(anchor.key_id, f"The anchor of seal {anchor.sequence}", anchor.sequence)
            anchor = next(anchors, None)
        return self._next_anchor(anchors, at=first - 1, mac=self._mac, pending=anchor) if anchor is not None else None

    def _must_be_archived(self, statements: list[Statement]) -> None:
        """What comes before the first seal kept must be in archives. Raises _Broken."""
        reached = max((statement.archived.last for statement in statements), default=0)
        if reached < self._kept - 1:
            missing = reached + 1
            sentence = f"Seal {missing} is missing: the next one there is {self._kept}, and no sealed event by whoever "
            sentence += "has the key says that it was archived."
            raise _Broken(BreakKind.SEAL_MISSING, sentence, missing)

    def _check(self, seal: Sequence[Any], event: Sequence[Any] | None) -> None:
        sequence, event_id, previous_mac, mac, key_id, sealed_at = seal
        expected = self._last + 1
        if sequence != expected:
            sentence = f"Seal {expected} is missing: the next one there is {sequence}."
            raise _Broken(BreakKind.SEAL_MISSING, sentence, expected)
        if key_id != self._key_id:
            self._take_up(key_id, f"Seal {sequence}", sequence, event_id)
        if previous_mac != self._mac:
            sentence = f"Seal {sequence} does not follow seal {expected - 1}: one of the two was altered."
            raise _Broken(BreakKind.LINK, sentence, sequence, event_id)
        if event is None:
            sentence = f"Event {event_id}, which seal {sequence} was made for, is missing."
            raise _Broken(BreakKind.EVENT_MISSING, sentence, sequence, event_id)
        if mac != self._right_mac(sequence, event_id, previous_mac, sealed_at, event):
            sentence = f"Event {event_id} ({line(event[_ACTION], 64)}) or its seal, number {sequence}, was altered."
            raise _Broken(BreakKind.ALTERED, sentence, sequence, event_id)
        self.checked += 1
        self._last, self._mac = sequence, mac
        if event[_ACTION] == _ARCHIVED and event_id in self._told and self._told[event_id].key_id == key_id:
            self._proven.append(self._told[event_id])
        self._note_time(event_id, sequence, event[_AT])

    def _right_mac(
        self, sequence: int, event_id: int, previous_mac: str, sealed_at: object, event: Sequence[Any]
    ) -> str | None:
        """What the seal's code must be; None when what is stored can't have been sealed."""
        if self._key is None:
            return None
        try:
            return seal_mac(
                self._key,
                sequence=sequence,
                event_id=event_id,
                previous_mac=previous_mac,
                sealed_at=sealed_at,
                event=event_bytes(event),
            )
        except Unreadable:
            return None

    def _take_up(self, key_id: str, what: str, sequence: int, event_id: int | None = None) -> None:
        """From here on this key seals; one that it replaced never comes back."""
        key = self._keys.get(key_id) if self._keys else None
        if key is None:
            sentence = f"{what} was made with another key ({key_id!r}) than those there are."
            raise _Broken(BreakKind.KEY_UNKNOWN, sentence, sequence, event_id)
        if key_id in self._replaced:
            sentence = f"{what} was made with key {key_id} after that had been replaced."
            raise _Broken(BreakKind.KEY_REPLACED, sentence, sequence, event_id)
        if self._key_id:
            self._replaced.add(self._key_id)
        self._key, self._key_id = key, key_id

    def _note_time(self, event_id: int, sequence: int, at: str) -> None:
        if at >= self._latest:
            self._latest, self._earliest = at, ""
            return
        # Reckoned once for each latest time: after a clock that was far ahead, all that follows comes here.
        self._earliest = self._earliest or _before(self._latest, OUT_OF_TIME)
        if at < self._earliest:
            self._out_of_time += 1
            self._first_out_of_time = self._first_out_of_time or (event_id, sequence)

    def _next_anchor(self, anchors: Iterator[Anchor], *, at: int, mac: str, pending: Anchor | None) -> Anchor | None:
        """Check the anchors of seal `at`; returns the first one of a later seal, or None when there is none."""
        anchor = pending or next(anchors, None)
        while anchor is not None and anchor.sequence == at:
            if anchor.mac != mac:
                raise _Broken(
                    BreakKind.ANCHOR_DIFFERS,
                    f"Seal {at} is not the one that was written down at {anchor.at}: the record was made anew.",
                    at,
                )
            if anchor.key_id != self._key_id:
                self._take_up(anchor.key_id, f"The anchor of seal {at}", at)
            anchor = next(anchors, None)
        return anchor


def _anchors(file: AnchorFile, *, sealed: bool) -> Iterator[Anchor]:
    if not file.path.exists():
        if sealed:
            raise _Broken(
                BreakKind.ANCHORS_MISSING, f"The record has seals, but its anchor file {file.path} is missing."
            )
        return iter(())
    none = "The record has seals, but its anchor file is empty."
    return _as_breaks(file.read(file.size()), sealed=sealed, none=none)


def _logged(lines: SyslogLines, *, sealed: bool) -> Iterator[Anchor]:
    return _as_breaks(
        lines.read(), sealed=sealed, none="The record has seals, but the syslog holds none of its anchors."
    )


def _as_breaks(anchors: Iterator[Anchor], *, sealed: bool, none: str) -> Iterator[Anchor]:
    any_line = False
    try:
        for anchor in anchors:
            any_line = True
            yield anchor
    except BadLine as error:
        raise _Broken(BreakKind.ANCHOR_LINE, str(error)) from error
    if sealed and not any_line:
        raise _Broken(BreakKind.ANCHORS_MISSING, none)


def _waiting() -> rows.Backlog:
    """What has no seal; misplaced is what later ones were sealed well after.

    Waiting for a sealer that is down is not, nor is a late commit: neither lets later events get far ahead.
    """
    last = AuditSeal.objects.order_by("-sequence").first()
    if last is None:
        return rows.backlog()
    highest = AuditSeal.objects.aggregate(highest=Max("event_id"))["highest"]
    return rows.backlog(below=highest, before=last.sealed_at - UNSEALED_GRACE)


def _put_in_behind(event_id: int) -> Break:
    sentence = f"Event {event_id} has no seal, but later ones have: it was put in behind them, or its seal was removed."
    return Break(BreakKind.UNSEALED, None, event_id, sentence)


def _before(at: str, span: timedelta) -> str:
    """What the database's text would be for a time so long before `at`; empty where there is none."""
    try:
        text = (_moment(at) - span).replace(tzinfo=None).isoformat(sep=" ")
    except (ValueError, OverflowError):  # sealed as it was, rubbish included
        return ""
    return text.rstrip("0") if "." in text else text


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(instant(at))


def _age(at: str | None) -> float | None:
    try:
        happened = _moment(at or "")
    except ValueError:
        return None
    return round(max((datetime.now(UTC) - happened).total_seconds(), 0.0), 3)
