"""The walk: every row of a table is asked by everybody, once, in a world that is built for it and thrown away."""

from __future__ import annotations

import gc
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from tests.access.matrix import bodies
from tests.access.matrix.addresses import address, sides
from tests.access.matrix.asking import Answer, Door, masked, undone
from tests.access.matrix.endpoints import endpoints
from tests.access.matrix.notation import HERE, OUTCOMES, PEOPLE, Row, column, grid, lines, table
from tests.access.matrix.people import Person, gather
from tests.access.matrix.world import Side, World, build

TABLES = ("pages", "api", "admin")
#: A kind of which something is hidden -> the same where that is not there: all of it, or the half that is hidden.
TWINS: dict[str, tuple[str, ...]] = {
    "ours": ("gone", "ours+gone"),
    "theirs": ("gone", "theirs+gone"),
    "loose": ("gone", "ours+gone"),
    "ours+theirs": ("gone", "ours+gone", "gone+theirs"),
    "ours+loose": ("gone", "ours+gone"),
    "theirs+ours": ("gone", "gone+ours"),
}
_CANARY = re.compile(r"(?:ours|theirs|loose|deleted)-\w+-canary")


@dataclass
class Walk:
    """What came of it. Each finding is a sentence that names its cell."""

    cells: int = 0
    wrong: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    pairs: int = 0
    unlike: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


class Keeper:
    """Knows who may come to know which name."""

    def __init__(self) -> None:
        self.known = grid("canaries")

    def leaks(self, person: Person, answer: Answer, *, is_page: bool) -> tuple[set[str], set[str]]:
        """The canaries in an answer: all, and those that this person may not know and did not name themselves."""
        found = set(_CANARY.findall(answer.text()))
        asked = set(_CANARY.findall(answer.asked))
        return found, {word for word in found - asked if not self._may(person, word, is_page=is_page)}

    def _may(self, person: Person, word: str, *, is_page: bool) -> bool:
        thing = word.removesuffix("-canary")
        return person.letter in self.known[thing] or (is_page and person.letter in self.known.get(f"pages:{thing}", ""))


#: The world, the people in it, and the door.
Scene = tuple[World, dict[str, Person], Door]


@contextmanager
def stage() -> Iterator[Scene]:
    """The world, the people and the door, in a transaction that is rolled back at the end. Not for use in another."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA temp_store = MEMORY")  # what a savepoint remembers need not go through a file
    logging.disable(logging.CRITICAL)  # thousands of refusals are no news here
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what all the tests before have left need not be looked through thousands of times
    gc.set_threshold(50_000, 20, 20)
    try:
        with undone():
            world = build()
            yield world, gather(world), Door()
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        logging.disable(logging.NOTSET)


def walked(name: str) -> Walk:
    """Ask every cell of one table."""
    with stage() as scene:
        return asked(name, table(name), scene)


def asked(name: str, rows: list[Row], scene: Scene) -> Walk:
    """Ask every cell of some rows of a table."""
    found, keeper = Walk(), Keeper()
    sent = bodies.API if name == "api" else bodies.PAGES
    known = endpoints()
    world, people, door = scene
    for group in _grouped(rows):
        alike: dict[tuple[str, str], tuple[str, str]] = {}
        for row in group:
            path = address(known[row.endpoint], world, row.kind)
            body = sent.get((row.endpoint, "GET" if row.method == "HEAD" else row.method))
            for letter, expected in row.asked:
                first, second = sides(world, row.kind)
                answer = door.ask(people[letter], row.verb, path, body(second, first) if body else {})
                found.cells += 1
                _note(found, keeper, row, people[letter], expected, answer, is_page=name != "api")
                if answer.outcome == "N" or (answer.outcome == "B" and "+" in row.kind) or "deleted" in row.kind:
                    alike[row.kind, letter] = answer.outcome, masked(answer)
        _compare(found, group[0], alike)
    return found


def _grouped(rows: list[Row]) -> Iterator[list[Row]]:
    """Rows of one endpoint and method."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.endpoint, row.method].append(row)
    yield from groups.values()


def _note(
    found: Walk, keeper: Keeper, row: Row, person: Person, expected: str, answer: Answer, *, is_page: bool
) -> None:
    """Hold an answer against its cell, and look for names in it."""
    if answer.outcome != expected:
        got = OUTCOMES.get(answer.outcome, "a bug")
        found.wrong.append(
            f"{row.name}, {person.letter}: {answer.outcome} ({got}), not {expected}"
            f" [{answer.status} {answer.headers.get('Location', '')}] {answer.error}"
        )
    seen, leaked = keeper.leaks(person, answer, is_page=is_page)
    found.seen |= seen
    found.leaks += [f"{row.name}, {person.letter}: {word}" for word in sorted(leaked)]


def _compare(found: Walk, row: Row, alike: dict[tuple[str, str], tuple[str, str]]) -> None:
    """What is hidden must be answered as what is not there, to the letter; also where it is named in a form."""
    for (kind, letter), (outcome, text) in alike.items():
        names = TWINS.get(kind, (kind.replace("deleted", "gone"),) if "deleted" in kind else ())
        twins = [alike[twin, letter] for twin in names if (twin, letter) in alike]
        texts = [twin for same, twin in twins if same == outcome]
        if not texts:
            continue
        found.pairs += 1
        if text not in texts:
            found.unlike.append(f"{row.endpoint} {row.method} {kind}, {letter}: {difference(text, texts[-1])}")


def difference(one: str, other: str) -> str:
    """The first line in which two answers part."""
    for left, right in zip(one.splitlines(), other.splitlines(), strict=False):
        if left != right:
            return f"{left[:200]!r} / {right[:200]!r}"
    return f"{len(one)} and {len(other)} characters"


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that names something, and who may find it."""

    pattern: str
    finders: str


def probes() -> list[Probe]:
    """The questions of `probes.table`."""
    found = []
    for where, line in lines(HERE / "probes.table"):
        pattern, marks = line.split(maxsplit=1)
        marked = zip(PEOPLE, column(marks, "x.", where), strict=True)
        found.append(Probe(pattern, "".join(person for person, mark in marked if mark == "x")))
    return found


def probed() -> Walk:
    """Ask every probe about what is theirs and about what is not there, as everybody."""
    with stage() as scene:
        return probed_by(probes(), scene)


def probed_by(questions: list[Probe], scene: Scene) -> Walk:
    """Ask some probes."""
    found, keeper = Walk(), Keeper()
    world, people, door = scene
    for probe in questions:
        for letter, person in sorted(people.items()):
            answers = [_probe(door, person, probe, side, world.ours) for side in (world.theirs, world.gone)]
            found.cells += 2
            where = f"{probe.pattern}, {letter}"
            if (answers[0][1] != answers[1][1]) is not (letter in probe.finders):
                say = "tells nothing of what is theirs" if letter in probe.finders else "tells of it"
                found.unlike.append(f"{where}: {say}: {difference(answers[0][1], answers[1][1])}")
            _, leaked = keeper.leaks(person, answers[0][0], is_page=not probe.pattern.startswith("/api/"))
            found.leaks += [f"{where}: {word}" for word in sorted(leaked)]
    return found


def _probe(door: Door, person: Person, probe: Probe, side: Side, ours: Side) -> tuple[Answer, str]:
    """An answer, as it is and without what was asked for."""
    filled = {name: value for name, value in _words(side).items() if f"{{{name}}}" in probe.pattern}
    answer = door.ask(person, "GET", probe.pattern.format(**filled, ours_vm=ours.vm.pk))
    text = masked(answer)
    for value in filled.values():
        short = rf'(?m)(?:(?<==)|(?<=%3D)|(?<=name="vm" value=")){re.escape(value)}(?=["&/%]|$)'
        text = re.sub(short, "ASKED", text) if len(value) < 12 else text.replace(value, "ASKED")
    return answer, text


def _words(side: Side) -> dict[str, str]:
    """What a probe's braces may stand for."""
    words = {"vm_uuid": str(side.vm.uuid), "user_username": side.user.username}
    for name in ("vm", "host", "cluster", "segment", "team", "user", "done", "drain"):
        thing: Any = getattr(side, name)
        words |= {name: str(thing.pk), f"{name}_name": str(getattr(thing, "name", ""))}
    return words
