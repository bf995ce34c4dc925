"""What the record says of its own beginning: that the oldest seals were archived, into which file, and their last code.

The statement stands in an `audit.archived` event and carries a code by the seal key. An event alone proves nothing:
whoever can write into the database can insert one, and the sealer seals what is there.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from audit.events import EventAction
from audit.fields import encode
from audit.keys import KeyRing, SealKey
from audit.models import AuditEvent
from audit.values import document


@dataclass(frozen=True, slots=True)
class Archived:
    """Seals `first` to `last` are in a file; `mac` is the code of the last one, the head that was kept.

    `archives` counts this one and those before it, which together hold all seals from 1 on.
    """

    first: int
    last: int
    mac: str
    sha256: str
    file: str
    at: str
    archives: int

    def __str__(self) -> str:
        return f"Seals {self.first} to {self.last} were archived at {self.at} into {self.file}, SHA-256 {self.sha256}."


@dataclass(frozen=True, slots=True)
class Statement:
    """An event that says so, with a right code."""

    event_id: int
    key_id: str
    archived: Archived


def signed(archived: Archived, key: SealKey) -> dict[str, Any]:
    """The `detail` of an `audit.archived` event."""
    fields = document({**asdict(archived), "key_id": key.id}) or {}
    return {**fields, "code": _code(fields, key)}


def read(event_id: int, detail: object, keys: KeyRing) -> Statement | None:
    """The statement of an event; None when it has no right code by one of these keys."""
    if not isinstance(detail, Mapping):
        return None
    fields = dict(detail)
    code, key = fields.pop("code", None), keys.get(str(fields.get("key_id")))
    if key is None or not isinstance(code, str) or not hmac.compare_digest(code.encode(), _code(fields, key).encode()):
        return None
    del fields["key_id"]
    return Statement(event_id, key.id, Archived(**fields))


def statements(keys: KeyRing) -> list[Statement]:
    """All that stand in the record, sealed or not, those that reach furthest last."""
    events = AuditEvent.objects.filter(action=EventAction.AUDIT_ARCHIVED).values_list("pk", "detail")
    found = [read(event_id, detail, keys) for event_id, detail in events]
    return sorted((s for s in found if s is not None), key=lambda s: (s.archived.last, s.event_id))


def _code(fields: Mapping[str, Any], key: SealKey) -> str:
    return key.code(b"slipway archive 1\n" + encode(dict(fields)).encode())
