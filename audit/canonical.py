"""The bytes that are sealed: one JSON object, keys sorted, no blanks, ASCII only, times in UTC with six decimals.

The three documents (before, after, detail) stand in it as text, exactly as they are stored, or as null. The same event
gives the same bytes on SQLite and on PostgreSQL, and from a row as the database driver returns it as well as from a
model instance; so anybody can compute them again from an export, in any language.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from audit.fields import encode as encode_document

if TYPE_CHECKING:
    from audit.models import AuditEvent

#: The form in use; `AuditEvent.version` says which form an event's seal covers.
VERSION = 1


class Unreadable(ValueError):
    """A stored value is not of the kind that Slipway writes, so somebody else wrote it."""


def instant(value: object) -> str:
    """`2026-01-31T08:00:00.000000Z`, from an aware datetime or from a database's text in UTC. Raises Unreadable."""
    # 2026-01-31 08:00:00[.123456]; PostgreSQL leaves trailing zeros out.
    if isinstance(value, str) and 19 <= len(value) <= 26 and value[10] == " " and value[19:20] in ("", "."):
        return f"{value[:10]}T{value[11:19]}.{value[20:].ljust(6, '0')}Z"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    raise Unreadable("a time is not in the form that Slipway writes")


def _document(text: str | None) -> str:
    return "null" if text is None else encode_basestring_ascii(text)


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "action": encode_basestring_ascii,
    "actor_id": encode_basestring_ascii,
    "actor_kind": encode_basestring_ascii,
    "actor_name": encode_basestring_ascii,
    "after": _document,
    "at": encode_basestring_ascii,  # of `instant`
    "before": _document,
    "detail": _document,
    "id": int.__repr__,
    "job_id": encode_basestring_ascii,
    "object_id": encode_basestring_ascii,
    "object_name": encode_basestring_ascii,
    "object_type": encode_basestring_ascii,
    "object_uuid": encode_basestring_ascii,
    "on_behalf_of_id": encode_basestring_ascii,
    "on_behalf_of_name": encode_basestring_ascii,
    "outcome": encode_basestring_ascii,
    "reason": encode_basestring_ascii,
    "request_id": encode_basestring_ascii,
    "segment_id": encode_basestring_ascii,
    "segment_name": encode_basestring_ascii,
    "source_address": encode_basestring_ascii,
    "token_id": encode_basestring_ascii,
    "version": int.__repr__,
    "via": encode_basestring_ascii,
}
#: The columns of an event in the order of the canonical form, which is also the order in which rows are read.
EVENT_COLUMNS = tuple(_ENCODERS)
_ORDERED = tuple(_ENCODERS.values())
_VERSION_PLACE, _AT_PLACE = EVENT_COLUMNS.index("version"), EVENT_COLUMNS.index("at")
_TEXT_PLACES = tuple(place for place, encode in enumerate(_ORDERED) if encode is encode_basestring_ascii)
_texts = itemgetter(*_TEXT_PLACES)
_OTHERS = tuple((place, encode) for place, encode in enumerate(_ORDERED) if place not in _TEXT_PLACES)


def _skeleton(quoted: Collection[int]) -> list[str]:
    """What stands around the values, with a gap for each; quotation marks included for those in `quoted`."""
    parts, mark = ["{"], ""
    for place, name in enumerate(EVENT_COLUMNS):
        opened = '"' if place in quoted else ""
        parts[-1] += f'{mark}"{name}":{opened}'
        parts += ["", opened]
        mark = ","
    parts[-1] += "}"
    return parts


_ENCODED, _PLAIN = _skeleton(()), _skeleton(_TEXT_PLACES)


def event_bytes(row: Sequence[Any]) -> bytes:
    """Canonical bytes of a row in the order of EVENT_COLUMNS. Raises Unreadable for what Slipway can't have written."""
    if row[_VERSION_PLACE] != VERSION:
        raise Unreadable("the event is of an unknown version")
    try:
        parts = _parts(row)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"a stored value is of the wrong kind ({error})") from error
    return "".join(parts).encode("ascii")


def _parts(row: Sequence[Any]) -> list[str]:
    values = list(row)
    values[_AT_PLACE] = instant(values[_AT_PLACE])
    texts = "".join(_texts(values))
    # Each character is encoded by itself, into one or more. As long as before (but for the quotation marks) means: into
    # itself, each one. So nearly all rows need one call of the encoder for all their short texts.
    plain = len(encode_basestring_ascii(texts)) == len(texts) + 2
    for place, encode in _OTHERS if plain else enumerate(_ORDERED):
        values[place] = encode(values[place])
    parts = (_PLAIN if plain else _ENCODED).copy()
    parts[1::2] = values  # raises ValueError when there are more or fewer
    return parts


def of_event(event: AuditEvent) -> bytes:
    """Canonical bytes of a model instance that has been saved."""
    values = [getattr(event, name) for name in EVENT_COLUMNS]
    return event_bytes([encode_document(value) if isinstance(value, dict) else value for value in values])
