"""What may be stored: plain JSON values, the same on every database, secrets masked, nothing that can't be kept.

Floats are written as decimal text, because their last digits differ from one JSON reader to the next. NUL and lone
surrogates, which PostgreSQL can't store, become U+FFFD. Secrets are known by the name of their key.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import unicodedata
from collections.abc import Mapping, Set
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

MASK = "[masked]"
#: Limits that keep one event from filling the disk, whatever a guest or a client sends.
MAX_TEXT = 4096  # characters
MAX_ITEMS = 1000  # members of one list or mapping
MAX_DEPTH = 8

_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
# fmt: off
_SECRET_WORDS = frozenset({
    "authorization", "cookie", "cookies", "credential", "credentials", "key", "keys", "otp", "passphrase", "passwd",
    "password", "passwords", "pin", "secret", "secrets", "token", "tokens",
})
# `token_id`, `key_fingerprint`: these name a secret, they are none.
_NAMING_WORDS = frozenset({
    "at", "bits", "count", "expires", "expiry", "fingerprint", "id", "ids", "kind", "length", "name", "names", "type",
})
# fmt: on
_USERINFO = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Characters that move the cursor or reorder the line: controls, line separators, bidirectional overrides, invisibles.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Co", "Cn"})


def plain(value: Any, *, depth: int = 0) -> Any:
    """A JSON value that says the same: None, bool, int, text, list or dict with text keys; secrets masked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value, depth=depth)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else text(hex(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping | list | tuple | Set):
        return "… nested too deeply" if depth >= MAX_DEPTH else _collection(value, depth + 1)
    return text(_scalar(value))


def document(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`plain()` of a mapping; None stays None, "nothing to tell"."""
    return None if value is None else _collection(value, 1)


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Text that every database can keep, at most `limit` characters, passwords in addresses masked."""
    kept = _UNSTORABLE.sub("\ufffd", str(value))
    if "://" in kept:
        kept = _USERINFO.sub(rf"\1:{MASK}@", kept)
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def line(value: object, limit: int) -> str:
    """Text on one line without characters that act on a terminal or a page: those are written as `\\x1b`, `\\u202e`."""
    if isinstance(value, str) and len(value) <= limit and value.isprintable() and "://" not in value:
        return str(value)  # as it is in nearly all of an event's columns
    return text(_visible(text(value)), limit)


def paragraph(value: object) -> str:
    """As `line()`, but line breaks and tabs stay: for reasons that people type."""
    lines = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return text(_visible(text(lines), keep="\n\t"))


def is_secret(key: str) -> bool:
    """Whether the value under a key of this name is a secret: `api_token`, `sshKey`; not `token_id`, `key_name`."""
    words = [word.lower() for word in _WORDS.findall(key)]
    return not _SECRET_WORDS.isdisjoint(words) and words[-1] not in _NAMING_WORDS


def _collection(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        pairs = [(text(key, 255), item) for key, item in list(value.items())[:MAX_ITEMS]]
        result = {key: _masked(item) if is_secret(key) else plain(item, depth=depth) for key, item in pairs}
        if len(value) > MAX_ITEMS:
            result["…"] = f"{len(value) - MAX_ITEMS} more"
        return result
    items = sorted(value, key=str) if isinstance(value, Set) else list(value)
    members = [plain(item, depth=depth) for item in items[:MAX_ITEMS]]
    return [*members, f"… {len(items) - MAX_ITEMS} more"] if len(items) > MAX_ITEMS else members


def _masked(value: Any) -> Any:
    # That there is none, or whether there is one, may be told.
    return value if value is None or isinstance(value, bool) or value == "" else MASK


def _scalar(value: Any) -> object:
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if math.isfinite(value) else value
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    return value


def _visible(value: str, keep: str = "") -> str:
    if value.isprintable():
        return value
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _UNSAFE_CATEGORIES
        else _escape(character)
        for character in value
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
