"""Another key takes the sealing over; the old one stays, to check what it sealed.

Who wants another key lays it beside the one in use (`prepare`). The sealer, which alone may, takes it up between two
batches (`take_up`): it writes the head down once more, signed by the new key, before the new key seals anything. That
line says from where on a seal of the old key is a forgery. Killed between any two steps, the next sealer goes on there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from audit.anchors import AnchorFile
from audit.keys import (
    KeyRing,
    SealKey,
    coming_file,
    key_ring,
    new_secret,
    put_key,
    retired_directory,
    seal_key,
    sync_directory,
)


class NotYet(Exception):
    """The coming key could not be taken up now; trying again is harmless."""


class Change(NamedTuple):
    """The keys of a rotation, by their ids."""

    old_key_id: str
    new_key_id: str


def coming_change(path: Path) -> Change | None:
    """The rotation that was begun and not finished; None when there is none. Raises PermissionError."""
    ring = key_ring(path, create=False)
    if ring is None or ring.coming is None:
        return None
    return Change(ring.sealing.id, ring.coming.id)


def prepare(path: Path, told: Callable[[Change], object]) -> Change:
    """Lay a new key beside the one that seals; `told` is called with both ids before, so that no key comes untold.

    Returns the rotation that was begun before, when there is one. Raises FileNotFoundError without a sealing key.
    """
    begun = coming_change(path)
    if begun is not None:
        return begun
    ring = key_ring(path, create=False)
    if ring is None:
        raise FileNotFoundError(f"There is no key in {path} to replace: the sealer makes one when it first seals.")
    secret = new_secret()
    change = Change(ring.sealing.id, SealKey(secret.encode("ascii")).id)
    told(change)
    put_key(coming_file(path), secret)
    return coming_change(path) or change  # another one's, if two did this at once


def take_up(path: Path, anchor_file: Path, ring: KeyRing, *, sequence: int, mac: str) -> KeyRing | None:
    """Make the coming key the sealing one, behind the head (`sequence`, `mac`); None when there is none to come.

    For the sealer only. Raises NotYet when the disk refuses: the old key then still seals. Raises OSError when it
    refuses the very last step: the old key must then seal nothing more, and the next sealer goes on here.
    """
    coming = seal_key(coming_file(path), create=False)
    if coming is None:
        return None
    turned = ring.turned(coming)
    anchors = AnchorFile(anchor_file, turned)
    try:
        _retire(path, ring.sealing.id)
        last = anchors.last()
        if last is None or last.anchor.key_id != coming.id:
            anchors.append(sequence=sequence, mac=mac)
    except OSError as error:
        raise NotYet(str(error)) from error
    os.replace(coming_file(path), path)
    sync_directory(path.parent)
    return turned


def _retire(path: Path, key_id: str) -> None:
    place = retired_directory(path) / f"{key_id}.key"
    place.parent.mkdir(mode=0o700, exist_ok=True)
    if not place.exists():
        os.link(path, place)
    sync_directory(place.parent)
