"""The same questions by the other door: with a session at the API, with a token at the pages.

A session opens at the API what a token of the same person does; a call that would change something also needs the proof
that a page of the portal made it. A page reads no tokens: who comes with nothing else has not signed in.
"""

from __future__ import annotations

from tests.access.matrix import bodies
from tests.access.matrix.addresses import address, sides
from tests.access.matrix.asking import Answer, Door
from tests.access.matrix.endpoints import endpoints
from tests.access.matrix.notation import NOT_ASKED, PEOPLE, Row, table
from tests.access.matrix.people import Person
from tests.access.matrix.walk import Walk, stage
from tests.access.matrix.world import World

#: Who comes to the API with a session: another segment's owner, and ours.
WITH_SESSION = "rw"
#: Who comes with a token alone: to a page who may change most, to the auditors' site who may read all of it.
WITH_TOKEN = {"pages": "p", "admin": "u"}
#: Whose call is forged.
FORGED = "w"
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def walked_by_other_doors() -> Walk:
    """Ask the rows of the tables by the other door."""
    found = Walk()
    with stage() as (world, people, door):
        asker = _Asker(found, world, people, door)
        for row in table("api"):
            usual = dict(row.asked)
            for letter in WITH_SESSION:
                if letter in usual:
                    asker.ask(row, letter, usual[letter], bodies.API)
            if row.verb in _CHANGING and FORGED in usual:
                asker.ask(row, FORGED, "F", bodies.API, forged=True)
        anonymous = PEOPLE.index("a")
        for name, letter in WITH_TOKEN.items():
            for row in table(name):
                if row.outcomes[anonymous] != NOT_ASKED:
                    asker.ask(row, letter, row.outcomes[anonymous], bodies.PAGES)
    return found


class _Asker:
    """Asks, and holds the answer against what is expected."""

    def __init__(self, found: Walk, world: World, people: dict[str, Person], door: Door) -> None:
        self._found, self._world, self._people, self._door = found, world, people, door
        self._known = endpoints()

    def ask(
        self,
        row: Row,
        letter: str,
        expected: str,
        sent: dict[tuple[str, str], bodies.Body],
        *,
        forged: bool = False,
    ) -> None:
        path = address(self._known[row.endpoint], self._world, row.kind)
        first, second = sides(self._world, row.kind)
        body = sent.get((row.endpoint, row.method))
        answer: Answer = self._door.ask(
            self._people[letter], row.verb, path, body(second, first) if body else {}, other=True, forged=forged
        )
        self._found.cells += 1
        if answer.outcome != expected:
            how = "forged, " if forged else ""
            self._found.wrong.append(
                f"{row.name}, {how}{letter}: {answer.outcome}, not {expected} [{answer.status}] {answer.error}"
            )
        if forged and "csrf_failed" not in answer.body:
            self._found.wrong.append(f"{row.name}, forged, {letter}: refused for another reason")
