"""What became of the mutants, noted while they are tried, so that a run can go on from the last one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from tests.mutants.weaving import ROOT, Mutant


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that it died of, or "" if it survived all that met it."""

    key: str
    killer: str
    seconds: float
    tried: int
    met: int


class Notes:
    """The dead. Who survived is tried again: there may be a test for it by now."""

    def __init__(self, path: Path, *, reuse: bool) -> None:
        self._path = path
        self._dead: dict[tuple[str, str], Verdict] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not reuse:
            path.write_text("")
        elif path.exists():
            for line in path.read_text().splitlines():
                facts = json.loads(line)
                file = facts.pop("file")
                self._dead[file, facts["key"]] = Verdict(**facts)

    def verdict(self, mutant: Mutant) -> Verdict | None:
        """How a mutant of the file as it is now died."""
        return self._dead.get((_version(mutant.path), mutant.key))

    def add(self, verdict: Verdict) -> None:
        """Note one that died."""
        if verdict.killer:
            file = _version(verdict.key.partition(" ")[0])
            self._dead[file, verdict.key] = verdict
            with self._path.open("a") as notes:
                notes.write(json.dumps({"file": file, **asdict(verdict)}) + "\n")


def digest(path: Path) -> str:
    """Tells one version of a file from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@cache
def _version(path: str) -> str:
    """Which version of a file this run is about: that of the first question."""
    return digest(ROOT / path)
