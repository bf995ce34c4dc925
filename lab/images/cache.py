"""The image cache: one directory per recipe, there whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.shell import ROOT, log
from lab.state import locked


@dataclass(frozen=True, slots=True)
class Image:
    """What a guest boots: kernel, initrd, what its kernel command line has, and its disk.

    `base` is the qcow2 file that a guest's disk overlays, None for an empty disk.
    """

    kernel: Path
    initrd: Path
    cmdline: str
    base: Path | None = None


def recipe_key(parts: Iterable[str | bytes | Path]) -> str:
    """A short hash of a recipe; a path stands for its content and its name in the project."""
    digest = hashlib.sha256()
    for item in parts:
        raw = item.encode() if isinstance(item, str) else item
        if isinstance(raw, Path):
            raw = str(raw.relative_to(ROOT)).encode() + b"\0" + raw.read_bytes()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:16]


def built(images: Path, name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory that `build(directory)` fills, built now or taken from the cache.

    It is built beside its place and moved there when it is whole, under a lock, so two bring-ups at
    the same time build it once, and a build that was cut short is never taken for an image.
    """
    target = images / f"{name}-{key}"
    if target.is_dir():
        return target
    with locked(images / f".{name}-{key}.lock"):
        if target.is_dir():
            return target
        for stale in images.glob(f".{name}-{key}.*.partial"):
            shutil.rmtree(stale, ignore_errors=True)
        # A name of its own: a builder that was killed may have left a program that still writes.
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-{key}.", suffix=".partial", dir=images))
        partial.chmod(0o755)
        log(f"building the {name} image")
        begun = time.monotonic()
        try:
            build(partial)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        log(f"built the {name} image in {time.monotonic() - begun:.0f} s")
    return target
