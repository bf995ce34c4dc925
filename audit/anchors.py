"""The head of the chain, written down outside the database: a file of JSON lines, one a minute while the record grows.

Each line carries a code of its own and names the code of the line before. Cutting off the end of both the record and
this file together stays possible for who can write both; so copy the file to another machine, or make it append-only.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from audit.canonical import instant
from audit.chain import GENESIS, anchor_hmac
from audit.fields import encode
from audit.keys import KeyRing, SealKey, sync_directory

_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head at one moment: seal `sequence` had the code `mac`; `count` seals were added since the line before."""

    sequence: int
    mac: str
    at: str
    count: int
    key_id: str
    previous: str

    def line(self, key: SealKey) -> bytes:
        """The line of the file, with its code and line end."""
        fields = asdict(self)
        return encode({**fields, "hmac": anchor_hmac(key, fields)}).encode() + b"\n"


class BadLine(ValueError):
    """A line of the anchor file is not one that the sealer wrote, or not in its place."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An anchor whose code was found right, with the code."""

    anchor: Anchor
    hmac: str


class AnchorFile:
    """The file. One writer, the sealer; any number of readers."""

    def __init__(self, path: Path, keys: KeyRing) -> None:
        self.path = path
        self._keys = keys

    def last(self) -> Signed | None:
        """The last line that is right in itself, among the last 64 KiB."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - _TAIL_BYTES))
            lines = handle.read().split(b"\n")
        for text in reversed(lines):
            try:
                return parse(text, self._keys, "A line of the anchor file")
            except BadLine:
                continue
        return None

    def append(self, *, sequence: int, mac: str) -> Anchor:
        """Write the head down and wait until the disk has it. Raises OSError."""
        last = self.last()
        anchor = Anchor(
            sequence=sequence,
            mac=mac,
            at=instant(datetime.now(UTC)),
            count=sequence - (last.anchor.sequence if last else 0),
            key_id=self._keys.sealing.id,
            previous=last.hmac if last else GENESIS,
        )
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # A line that a crash cut short is ended, and stands as a line that says nothing.
            torn = not is_new and not _ends_with_newline(descriptor)
            _write_all(descriptor, (b"\n" if torn else b"") + anchor.line(self._keys.sealing))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_directory(self.path.parent)
        return anchor

    def size(self) -> int:
        """Bytes in the file now; 0 when there is none."""
        return self.path.stat().st_size if self.path.exists() else 0

    def read(self, size: int) -> Iterator[Anchor]:
        """The anchors in the first `size` bytes, each checked with its link to the one before. Raises BadLine."""
        before: Signed | None = None
        replaced: set[str] = set()
        garbled = 0
        with self.path.open("rb") as handle:
            for number, text in enumerate(handle, start=1):
                if handle.tell() > size or not text.endswith(b"\n"):
                    break  # still being written, or cut short by a crash
                if not _is_object(text):
                    garbled = number  # harmless if the next line follows the one before it
                    continue
                signed = parse(text, self._keys, f"Line {number} of the anchor file")
                _check_place(signed.anchor, before, number)
                if before is not None and signed.anchor.key_id != before.anchor.key_id:
                    replaced.add(before.anchor.key_id)
                if signed.anchor.key_id in replaced:
                    raise BadLine(f"Line {number} of the anchor file was written with a key that had been replaced.")
                before, garbled = signed, 0
                yield signed.anchor
        if garbled:
            raise BadLine(f"Line {garbled} of the anchor file can't be read.")


def parse(text: bytes | str, keys: KeyRing, where: str) -> Signed:
    """The anchor that a line holds, whose code is right. Raises BadLine."""
    try:
        fields = json.loads(text)
        code = fields.pop("hmac")
        anchor = Anchor(**fields)
        key = keys.get(anchor.key_id)
        right = anchor_hmac(key, asdict(anchor)) if key else ""
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadLine(f"{where} can't be read.") from error
    if key is None:
        raise BadLine(
            f"{where} was written with another key ({anchor.key_id!r}) than those there "
            "are: put that key back from its backup, or somebody else wrote the line."
        )
    if not isinstance(code, str) or not hmac.compare_digest(code.encode(), right.encode()):
        raise BadLine(f"{where} was altered, or was not written by the sealer.")
    return Signed(anchor, code)


def _check_place(anchor: Anchor, before: Signed | None, number: int) -> None:
    if anchor.previous != (before.hmac if before else GENESIS):
        raise BadLine(f"Line {number} of the anchor file does not follow the line before: lines are missing or moved.")
    if before is None and anchor.sequence != 0:
        raise BadLine("The anchor file does not begin at the beginning of the record: its first lines are missing.")
    if before is not None and anchor.sequence < before.anchor.sequence:
        raise BadLine(
            f"The record was cut back from seal {before.anchor.sequence} to seal {anchor.sequence} "
            f"before {anchor.at}, says line {number} of the anchor file."
        )


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
