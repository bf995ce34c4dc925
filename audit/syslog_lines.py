"""Anchors as a syslog kept them: among other lines, behind a daemon's prefix, in files that are rotated.

A syslog is no anchor file. It may hold a line twice, in another order, not at all, or begin in the middle. So each
anchor stands for itself here: who lacks the key can't write one, and what it says of a seal the chain must hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from audit.anchors import Anchor, BadLine, Signed, parse
from audit.keys import KeyRing
from audit.syslog import TAG

_decoder = json.JSONDecoder()


class SyslogLines:
    """Files of syslog lines, in any order."""

    def __init__(self, paths: Sequence[Path], keys: KeyRing) -> None:
        self._paths = paths
        self._keys = keys
        #: Places where an anchor that another one names as the one before is not there; known when all were read.
        self.missing = 0

    def read(self) -> Iterator[Anchor]:
        """The anchors in the order of their seals, each once.

        Raises BadLine for an altered or a forged one, behind the good ones: whoever may write into a syslog could else
        hide a broken place of the record. Raises OSError.
        """
        found: dict[str, Signed] = {}
        bad: BadLine | None = None
        for path in self._paths:
            for number, text in _tagged(path):
                try:
                    signed = parse(text, self._keys, f"Line {number} of {path.name}")
                except BadLine as error:
                    bad = bad or error
                else:
                    found.setdefault(signed.hmac, signed)
        self.missing = max(0, sum(one.anchor.previous not in found for one in found.values()) - 1)
        for signed in sorted(found.values(), key=lambda one: (one.anchor.sequence, one.anchor.at)):
            yield signed.anchor
        if bad is not None:
            raise bad


def _tagged(path: Path) -> Iterator[tuple[int, str]]:
    """Number and JSON text of the lines that hold an object behind the tag; one that was cut short says nothing."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        for number, line in enumerate(handle, start=1):
            _, tag, rest = line.partition(TAG)
            start = rest.find("{")
            if not tag or start < 0:
                continue
            try:
                _, end = _decoder.raw_decode(rest, start)
            except (ValueError, RecursionError):
                continue
            yield number, rest[start:end]
