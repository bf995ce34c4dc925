"""The chain's arithmetic: what each code covers. Pure functions.

    mac(n) = HMAC-SHA256(key, "slipway seal 1\\n" + header(n) + "\\n" + canonical bytes of the event)

where the header holds the seal's other columns, the code of seal n - 1 among them. Who lacks the key can neither alter
a row nor continue the chain; what the chain alone can't show, that its end was cut off, the anchors show.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from audit.canonical import instant
from audit.fields import encode
from audit.keys import SealKey

#: Stands where the first seal, and the first anchor, names its predecessor.
GENESIS = "0" * 64

_SEAL_HEADER = 'slipway seal 1\n{"event_id":%d,"key_id":"%s","previous_mac":"%s","sealed_at":"%s","sequence":%d}\n'

# The seals of a batch share one time.
_sealed_at = lru_cache(maxsize=8)(instant)


def seal_mac(key: SealKey, *, sequence: int, event_id: int, previous_mac: str, sealed_at: object, event: bytes) -> str:
    """The code of a seal, 64 hex digits. Raises canonical.Unreadable when `sealed_at` is not a time."""
    header = _SEAL_HEADER % (event_id, key.id, previous_mac, _sealed_at(sealed_at), sequence)
    return key.code(header.encode() + event)


def anchor_hmac(key: SealKey, fields: dict[str, Any]) -> str:
    """The code of a line of the anchor file, 64 hex digits, over all its other fields."""
    return key.code(b"slipway anchor 1\n" + encode(fields).encode())
