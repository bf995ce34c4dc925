"""Which image a kind of guest boots."""

from __future__ import annotations

from pathlib import Path

from lab.images import debian, tiny
from lab.images.cache import Image


def prepare(kind: str, images: Path) -> Image:
    """The image of a kind of guest, built now if it is not in the cache directory `images`."""
    if kind == "debian":
        return debian.prepare(images)
    return tiny.prepare(images)
