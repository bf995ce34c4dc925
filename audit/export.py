"""What an auditor takes away: the record as JSON lines that can be checked without Slipway; and the record of that.

A range is a run of seals without a gap, so that its chain can be computed again from the seal before it. A selection
holds the events that a filter found, each with its own seal. docs/audit.md describes the lines.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max, Min, QuerySet
from django.utils import timezone

from audit import rows
from audit.canonical import Unreadable, event_bytes, instant
from audit.chain import GENESIS
from audit.context import carry, current
from audit.events import EventAction, Outcome
from audit.fields import encode
from audit.models import AuditEvent, AuditSeal
from audit.record import record_alone

FORMAT = "slipway audit export 1"
PAGE = 2000  # events read at a time, and in one piece of the file


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: number and code of its last seal; 0 and zeros while there is none."""

    sequence: int
    mac: str


@dataclass(slots=True)
class Tally:
    """What an export held so far."""

    events: int = 0
    sealed: int = 0
    unsealed: int = 0

    def add(self, page: Sequence[rows.Entry]) -> None:
        """Count a page."""
        sealed = sum(entry.seal is not None for entry in page)
        self.events += len(page)
        self.sealed += sealed
        self.unsealed += len(page) - sealed


@dataclass(frozen=True, slots=True)
class Span:
    """The seals of a range, first and last, and the code of the seal before (None when that one is missing)."""

    first: int
    last: int
    previous_mac: str | None


def chain_head() -> Head:
    """The last seal in the database now."""
    found = AuditSeal.objects.order_by("-sequence").values_list("sequence", "mac").first()
    return Head(*found) if found else Head(0, GENESIS)


def ids_of(events: QuerySet[AuditEvent]) -> array[int]:
    """The ids of the events of a query, oldest first: 8 bytes for each, so that a million of them fits anywhere.

    The export then reads the events page by page: no transaction or cursor stays open while somebody downloads.
    """
    return array("q", events.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=PAGE))


def pages(ids: Sequence[int]) -> Iterator[list[rows.Entry]]:
    """The events of these ids with their seals, in pages, by id."""
    for start in range(0, len(ids), PAGE):
        yield rows.entries(ids[start : start + PAGE])


class JsonLines:
    """An export in the making. `chunks()` can be read once; `tally` counts as it is read."""

    def __init__(
        self,
        *,
        coverage: str,
        query: Mapping[str, Any],
        at: datetime,
        head: Head,
        span: Span | None,
        entries: Iterator[list[rows.Entry]],
    ) -> None:
        self.coverage = coverage
        self.query = dict(query)
        self.head = head
        self.span = span
        self.tally = Tally()
        self._entries = entries
        self._header = {
            "coverage": coverage,
            "exported_at": instant(at),
            "exported_by": current().actor_name,
            "first_sequence": span.first if span else None,
            "format": FORMAT,
            "head": asdict(head),
            "kind": "header",
            "last_sequence": span.last if span else None,
            "previous_mac": span.previous_mac if span else None,
            "query": self.query,
        }

    def chunks(self) -> Iterator[bytes]:
        """The file: header, one line for each event, trailer."""
        digest = hashlib.sha256()
        for chunk in self._before_the_trailer():
            digest.update(chunk)
            yield chunk
        trailer = {**asdict(self.tally), "head": asdict(self.head), "kind": "trailer", "sha256": digest.hexdigest()}
        yield _line(trailer)

    def _before_the_trailer(self) -> Iterator[bytes]:
        yield _line(self._header)
        for page in self._entries:
            self.tally.add(page)
            yield b"".join(_event_line(entry) for entry in page)


def of_range(*, since: datetime | None = None, until: datetime | None = None) -> JsonLines:
    """The record, or the run of seals from the first to the last event with `since` <= at < `until`.

    The run has no gap, so it can hold some events just outside these times. Events that wait for the sealer follow.
    """
    # The time first: an anchor that is older than it can then name no seal after the head.
    at, head = timezone.now(), chain_head()
    newest = AuditEvent.objects.aggregate(newest=Max("id"))["newest"] or 0
    span = _span(since, until, head)
    query = {"since": _moment(since), "until": _moment(until)}
    return JsonLines(
        coverage="range",
        query=query,
        at=at,
        head=head,
        span=span,
        entries=_of_range(span, head, newest, since, until),
    )


def of_archive(first: int, last: int, query: Mapping[str, Any]) -> JsonLines:
    """The seals `first` to `last`, and nothing that waits."""
    at, head = timezone.now(), chain_head()
    span = Span(first, last, _code_before(first))
    sealed = _sealed(span)
    return JsonLines(coverage="range", query=query, at=at, head=head, span=span, entries=sealed)


def of_selection(ids: Sequence[int], query: Mapping[str, Any]) -> JsonLines:
    """The events of these ids, and what was asked for to find them."""
    at = timezone.now()
    return JsonLines(coverage="selection", query=query, at=at, head=chain_head(), span=None, entries=pages(ids))


def told(
    chunks: Iterable[bytes], tally: Tally, facts: Mapping[str, Any], *, finished: Callable[[str], None] | None = None
) -> Generator[bytes, None, None]:
    """The chunks of an export, with its record: an intent now, and what became of it before the last chunk is given.

    `facts` (format, query) stand in both events; the second one adds the count and the SHA-256 of the whole file, so
    that the sealed record vouches for the file. `finished` is called with that digest. Raises what `record_alone` does.
    """
    record_alone(EventAction.AUDIT_EXPORTED, outcome=Outcome.INTENT, detail=facts)

    def end(outcome: Outcome, **more: Any) -> None:
        record_alone(EventAction.AUDIT_EXPORTED, outcome=outcome, detail={**facts, "count": tally.events, **more})

    # Chunks are read after the request's context has ended.
    return _told(iter(chunks), carry(end), finished)


def _told(
    chunks: Iterator[bytes], end: Callable[..., None], finished: Callable[[str], None] | None
) -> Generator[bytes, None, None]:
    digest = hashlib.sha256()
    held: bytes | None = None
    try:
        for chunk in chunks:
            digest.update(chunk)
            if held is not None:
                yield held
            held = chunk
    except BaseException:
        # The reader went away, or reading failed: what was taken until then was taken.
        end(Outcome.FAILED)
        raise
    end(Outcome.OK, sha256=digest.hexdigest())
    if finished is not None:
        finished(digest.hexdigest())
    if held is not None:
        yield held


def _span(since: datetime | None, until: datetime | None, head: Head) -> Span | None:
    seals = AuditSeal.objects.filter(sequence__lte=head.sequence)
    begin = first_kept()
    first, last = begin, head.sequence
    if since is not None or until is not None:
        events = AuditEvent.objects.all()
        events = events if since is None else events.filter(at__gte=since)
        events = events if until is None else events.filter(at__lt=until)
        # Without the order of the model: the database need not sort what it looks up.
        within = seals.filter(event_id__in=events.order_by().values("id"))
        found = within.aggregate(first=Min("sequence"), last=Max("sequence"))
        if found["first"] is None:
            return None
        first = begin if since is None else found["first"]
        last = head.sequence if until is None else found["last"]
    elif not seals.exists():
        return None
    return Span(first, last, _code_before(first))


def first_kept() -> int:
    """The first seal that must be there: 1, or the one behind what was archived.

    Taken from what the record says of itself, without proof: the verification asks for that.
    """
    first: int = AuditSeal.objects.aggregate(first=Min("sequence"))["first"] or 1
    told = AuditEvent.objects.filter(action=EventAction.AUDIT_ARCHIVED).values_list("object_id", flat=True)
    ends = [int(end) for end in told if end.isdecimal() and len(end) < 19]
    return max(first, 1) if any(end >= first - 1 for end in ends) else 1


def _code_before(first: int) -> str | None:
    if first == 1:
        return GENESIS
    before = AuditSeal.objects.filter(sequence=first - 1).values_list("mac", flat=True).first()
    if before is None and first == first_kept():
        # Archived: the code is kept in the next seal alone, whose own code covers it.
        before = AuditSeal.objects.filter(sequence=first).values_list("previous_mac", flat=True).first()
    return before


def _of_range(
    span: Span | None, head: Head, newest: int, since: datetime | None, until: datetime | None
) -> Iterator[list[rows.Entry]]:
    if span is not None:
        yield from _sealed(span)
    after = rows.LOWEST
    while waiting := rows.not_sealed_by(
        head.sequence, after=after, through=newest, since=since, until=until, limit=PAGE
    ):
        yield [rows.Entry(None, event) for event in waiting]
        after = rows.event_id(waiting[-1])


def _sealed(span: Span) -> Iterator[list[rows.Entry]]:
    # A forged seal can have any number; the whole record shows it.
    after = rows.LOWEST if span.first == 1 else span.first - 1
    while page := rows.sealed_after(after, PAGE):
        kept = [entry for entry in page if entry.seal is not None and entry.seal.sequence <= span.last]
        if kept:
            yield kept
        if len(kept) < len(page):
            break
        after = kept[-1].seal.sequence  # type: ignore[union-attr]


def _event_line(entry: rows.Entry) -> bytes:
    shown, unreadable = b"null", b""
    if entry.event is not None:
        try:
            shown = event_bytes(entry.event)
        except Unreadable as error:
            why = {"event_id": rows.event_id(entry.event), "reason": str(error)}
            unreadable = b',"unreadable":' + encode(why).encode()
    return b'{"event":' + shown + b',"kind":"event","seal":' + _seal(entry.seal) + unreadable + b"}\n"


def _seal(row: rows.Seal | None) -> bytes:
    if row is None:
        return b"null"
    columns = row._asdict()
    with suppress(Unreadable):  # else shown as it is: the verification then finds it
        columns["sealed_at"] = instant(row.sealed_at)
    shown = {name: value if isinstance(value, int | str) else repr(value) for name, value in columns.items()}
    return encode(shown).encode()


def _line(fields: Mapping[str, Any]) -> bytes:
    return encode(dict(fields)).encode() + b"\n"


def _moment(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
