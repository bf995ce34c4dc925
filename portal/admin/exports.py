"""What an auditor downloads from the list of events: a table, sealed lines, or a page to print."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils import timezone

from audit.canonical import EVENT_COLUMNS, Unreadable, instant
from audit.export import Tally, chain_head, ids_of, of_range, of_selection, pages, told
from audit.rows import Entry

#: Format -> type of the answer, and whether it is saved rather than shown.
FORMATS = {
    "csv": ("text/csv; charset=utf-8", True),
    "jsonl": ("application/x-ndjson", True),
    "html": ("text/html; charset=utf-8", False),
}
#: A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FIRST = (
    "id", "at", "action", "outcome", "actor_kind", "actor_name", "actor_id", "object_type", "object_name", "object_id",
    "object_uuid", "segment_name",
)  # fmt: skip
CSV_COLUMNS = (*_FIRST, *(name for name in EVENT_COLUMNS if name not in (*_FIRST, "version")))
SEAL_COLUMNS = ("seal_sequence", "seal_mac", "seal_key_id", "sealed_at")


class Download(StreamingHttpResponse):
    """Gives away pieces as they are made, one at a time. (Django would first collect all of them under ASGI.)"""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self)
        while (piece := await sync_to_async(next)(pieces, None)) is not None:
            yield piece


def export(request: HttpRequest, form: str, events: Any, query: dict[str, str]) -> Download:
    """The events as a file, recorded. `query` is what was asked for to find them; empty for the whole record."""
    if form == "jsonl":
        lines = of_selection(ids_of(events), query) if query else of_range()
        chunks, tally, coverage = lines.chunks(), lines.tally, lines.coverage
    else:
        ids, tally, coverage = ids_of(events), Tally(), "selection"
        chunks = _csv(ids, tally) if form == "csv" else _evidence(request, ids, tally, query)
    facts = {"format": form, "coverage": coverage, "query": query}
    content_type, saved = FORMATS[form]
    answer = Download(told(chunks, tally, facts), content_type=content_type)
    if saved:
        name = f"slipway-audit-{timezone.now():%Y%m%dT%H%M%SZ}.{form}"
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def safe(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(FORMULA) else text


def _csv(ids: Sequence[int], tally: Tally) -> Iterator[bytes]:
    yield csv_rows([[*CSV_COLUMNS, *SEAL_COLUMNS]])
    for page in pages(ids):
        tally.add(page)
        shown = [_as_shown(entry) for entry in page]
        yield csv_rows([[safe(row[name]) for name in (*CSV_COLUMNS, *SEAL_COLUMNS)] for row in shown])


def csv_rows(rows: list[list[str]]) -> bytes:
    """Rows of a table as its file has them."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _evidence(request: HttpRequest, ids: Sequence[int], tally: Tally, query: dict[str, str]) -> Iterator[bytes]:
    mark = secrets.token_hex(16)  # nobody can have put it into a name
    context = {
        "query": query,
        "number": len(ids),
        "head": chain_head(),
        "made_at": instant(timezone.now()),
        "made_by": request.user.get_username(),
        "mark": mark,
    }
    before, after = render_to_string("auditors/evidence.html", context, request).split(mark)
    return _evidence_pieces(before, after, ids, tally)


def _evidence_pieces(before: str, after: str, ids: Sequence[int], tally: Tally) -> Iterator[bytes]:
    yield before.encode()
    for page in pages(ids):
        tally.add(page)
        rows = {"events": [_as_shown(entry) for entry in page]}
        yield render_to_string("auditors/_evidence_rows.html", rows).encode("utf-8", "backslashreplace")
    yield after.encode()


def _as_shown(entry: Entry) -> dict[str, Any]:
    """Every column by its name, times in the form that is sealed, and those of the seal."""
    shown: dict[str, Any] = dict(zip(EVENT_COLUMNS, entry.event or (), strict=False))
    seal = entry.seal
    shown |= dict.fromkeys(SEAL_COLUMNS)
    if seal is not None:
        shown |= {"seal_sequence": seal.sequence, "seal_mac": seal.mac, "seal_key_id": seal.key_id}
        shown["sealed_at"] = _time(seal.sealed_at)
    shown["at"] = _time(shown.get("at"))
    return shown


def _time(value: Any) -> str:
    try:
        return instant(value)
    except Unreadable:
        return str(value)
