"""Trying the mutants: pytest collects the tests once, runs them once to learn which mutants each passes by, and then
forks a process for each mutant, which runs only those tests, until one fails.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutants.notes import Verdict, digest
from tests.mutants.weaving import SWITCH, Mutant, wake

#: Seconds after which a mutant is taken to hang, which is a way to be noticed.
HANGS = 1800
#: How many tests have to pass in a forked process without a mutant, before one is believed to be noticed there.
PROOF = 200
#: The access matrix, which has a world to build before its first question.
MATRIX = "by_address.py"


@dataclass
class Test:
    """What one test took and met, in the run without mutants."""

    seconds: float
    met: list[str]
    #: Which version of its file it is of.
    file: str


class Nothing:
    """Stands for the next test when there is none yet: what belongs to the session stays set up."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session

    def listchain(self) -> list[Any]:
        return [self._session]


class Trial:
    """A pytest plugin in place of its loop."""

    def __init__(
        self, wanted: Sequence[Mutant], kept: Path, *, reuse: bool, patience: float, noted: Callable[[Verdict], None]
    ) -> None:
        self._patience, self._noted = patience, noted
        self.verdicts: list[Verdict] = []
        self.broken: list[str] = []
        self._wanted, self._kept = wanted, kept
        self._tests = self._known() if reuse else {}
        self._kills: Counter[str] = Counter()
        self._late_kills: Counter[str] = Counter()
        self.at_import: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.at_import = _met_while_importing()
        self._learn(session)
        here = [mutant for mutant in self._wanted if not self._is_for_a_new_process(mutant)]
        if not self.broken and here:
            self._prove(session)
        if not self.broken:
            for mutant in here:
                self.tell(mutant, self._try(session, mutant))
        return True

    def tell(self, mutant: Mutant, verdict: Verdict) -> None:
        """Note what became of a mutant, and say it."""
        self.verdicts.append(verdict)
        self._noted(verdict)
        self._kills[verdict.killer] += 1
        self._late_kills[verdict.killer] += self._is_for_a_new_process(mutant)
        end = f"killed by {verdict.killer}" if verdict.killer else "SURVIVED"
        print(f"{verdict.seconds:6.1f} s {verdict.tried:4}/{verdict.met:<4} line {mutant.line:<3} {mutant.key}: {end}",
              flush=True)  # fmt: skip

    def late(self) -> list[Mutant]:
        """Those that are met while modules are imported: they need a process of their own."""
        return [mutant for mutant in self._wanted if self._is_for_a_new_process(mutant)]

    def names(self) -> list[str]:
        """The tests for one in a process of its own: what has killed such a one before, then the quickest."""
        return sorted(self._tests, key=lambda name: (-self._late_kills[name], self._tests[name].seconds))

    def _is_for_a_new_process(self, mutant: Mutant) -> bool:
        return mutant.key in self.at_import

    def _learn(self, session: pytest.Session) -> None:
        """Run what is not known yet, awake to nothing."""
        ran = 0
        for item in session.items:
            known = self._tests.get(item.nodeid)
            if _has_database() and known is not None and known.file == digest(item.path):
                continue  # before, they run for what they set up
            ran += 1
            SWITCH.passed.clear()
            began = time.perf_counter()
            with silence():
                failed = _run(item, session)
            self._tests[item.nodeid] = Test(time.perf_counter() - began, sorted(SWITCH.passed), digest(item.path))
            if failed:
                self.broken.append(item.nodeid)
        here = {item.nodeid for item in session.items} - set(self.broken)
        self._tests = {name: test for name, test in self._tests.items() if name in here}
        print(f"{ran} tests run without a mutant, of {len(here)}", flush=True)
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        self._kept.write_text(json.dumps({name: asdict(test) for name, test in self._tests.items()}))

    def _prove(self, session: pytest.Session) -> None:
        """In a forked process without a mutant the tests pass too: else each mutant would be taken for dead."""
        quickest = sorted(session.items, key=lambda item: self._tests[item.nodeid].seconds)
        meeting = [item for item in quickest if self._tests[item.nodeid].met]
        failed, _tried = _in_a_fork(session, None, meeting[:PROOF], self._patience)
        if failed:
            self.broken.append(f"{failed} (in a forked process)")

    def _known(self) -> dict[str, Test]:
        if not self._kept.exists():
            return {}
        return {name: Test(**facts) for name, facts in json.loads(self._kept.read_text()).items()}

    def _meeting(self, session: pytest.Session, mutant: Mutant) -> list[pytest.Item]:
        """Tests that pass by a mutant: those that have killed before, those of its own room, the matrix, all others."""
        mark = mutant.path if mutant.again is not None else mutant.key
        meeting = [item for item in session.items if mark in self._tests[item.nodeid].met]

        def turn(item: pytest.Item) -> tuple[int, float]:
            seconds = self._tests[item.nodeid].seconds
            if MATRIX in item.nodeid:
                return 2, seconds
            if self._kills[item.nodeid]:
                return 0, seconds / self._kills[item.nodeid]
            is_at_home = item.nodeid.split("/")[1] in mutant.path.split("/")
            return (1 if is_at_home else 3), seconds

        return sorted(meeting, key=turn)

    def _try(self, session: pytest.Session, mutant: Mutant) -> Verdict:
        meeting = self._meeting(session, mutant)
        began = time.perf_counter()
        killer, tried = _in_a_fork(session, mutant, meeting, self._patience)
        return Verdict(mutant.key, killer, round(time.perf_counter() - began, 2), tried, len(meeting))


def _in_a_fork(
    session: pytest.Session, mutant: Mutant | None, meeting: list[pytest.Item], seconds: float
) -> tuple[str, int]:
    """Which test failed, if one did, and how many were tried."""
    from django.db import connections

    connections.close_all()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be(session, mutant, meeting, seconds, writer)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    killer, tried = json.loads(said) if said else (f"ended by signal {os.WTERMSIG(status)}", len(meeting))
    return killer, tried


def _be(
    session: pytest.Session, mutant: Mutant | None, meeting: list[pytest.Item], seconds: float, writer: int
) -> None:
    """In the forked process: be this mutant, or none, until a test notices, or for so long."""
    signal.alarm(HANGS)
    database = _own_database()
    if mutant is not None:
        wake(mutant)
    killer, tried, until = "", 0, time.perf_counter() + seconds
    try:
        with silence():
            for item in meeting:
                if time.perf_counter() > until:
                    break
                tried += 1
                if _run(item, session):
                    killer = item.nodeid
                    break
    except BaseException as error:
        killer = f"the run itself: {error!r}"
    os.write(writer, json.dumps([killer, tried]).encode())
    for suffix in ("", "-wal", "-shm") if database else ():
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    os._exit(0)


@contextmanager
def silence() -> Iterator[None]:
    """What tests and logs say in the block is heard by nobody: here it is only asked whether they fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    for stream, _copy in kept:
        os.dup2(nowhere, stream)
    try:
        yield
    finally:
        for stream, copied in kept:
            os.dup2(copied, stream)
            os.close(copied)
        os.close(nowhere)


def _met_while_importing() -> set[str]:
    """The mutants that were met by now, the views and their addresses included."""
    from django.urls import get_resolver

    assert get_resolver().url_patterns
    return set(SWITCH.passed)


def _has_database() -> bool:
    """Whether the test database stands; the first test that needs it makes it."""
    from django.db import connection

    return Path(connection.settings_dict["NAME"]) == Path(connection.settings_dict["TEST"]["NAME"])


def _own_database() -> str:
    """Work on a copy of the test database, so that nothing is left of what a mutant does.

    Copied by SQLite, and not as a file: while a thread that a test left behind has it open, part of it stands in the
    write-ahead log alone.
    """
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    if not _has_database():
        return ""
    copied = f"{name}.{os.getpid()}"
    with closing(sqlite3.connect(name)) as whole, closing(sqlite3.connect(copied)) as copy:
        whole.backup(copy)
    connection.settings_dict["NAME"] = copied
    return copied


def _run(item: pytest.Item, session: pytest.Session) -> bool:
    """Run one test with all that it sets up for itself; whether it failed."""
    reports = runtestprotocol(item, log=False, nextitem=Nothing(session))  # type: ignore[arg-type]
    return any(report.failed for report in reports)
