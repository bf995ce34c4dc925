"""Reading the tables: plain text, written by hand, one letter for each person.

vm-detail                                     the name of an address (several may share their rows)
    GET             ours      AA NNNN VN VVVV VV
    GET             theirs    AA NNNV NN NNNN VV
    others          ours      AA MMMM MM MMMM MM      (every method that the address does not name itself)

A row says two things more than it spells out. HEAD answers what GET answers. And what was there once and has been
deleted answers what never was (`gone`), to the letter. Both, and OPTIONS, are asked by one of each sort of people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

#: Who asks, in the order of the columns (see `people.py`).
PEOPLE = "ac sedr gh vomw pu".replace(" ", "")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: Who is asked where it is known that all are treated alike: one of each sort.
ONE_OF_EACH = frozenset("srwu")
#: What a letter stands for.
OUTCOMES = {
    "V": "done or shown (2xx)",
    "R": "done, and sent on to a page (3xx)",
    "A": "asked to sign in (401, or sent to the sign-in page)",
    "B": "let through, but the input is not valid (400)",
    "C": "let through, but it conflicts (409)",
    "U": "let through, but not admitted (422)",
    "F": "seen, but not allowed (403)",
    "N": "not there (404)",
    "M": "no such method here (405)",
}
#: The mark of somebody who is not asked.
NOT_ASKED = "."


@dataclass(frozen=True, slots=True)
class Row:
    """What one request answers to each person. `method` may name a variant of the body: `POST:vm.patch`."""

    endpoint: str
    method: str
    kind: str
    outcomes: str

    @property
    def verb(self) -> str:
        """The HTTP method alone."""
        return self.method.partition(":")[0]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """(person, letter) of everybody who is asked."""
        cells = zip(PEOPLE, self.outcomes, strict=True)
        return [(person, letter) for person, letter in cells if letter != NOT_ASKED]

    @property
    def letters(self) -> set[str]:
        """What it answers to anybody."""
        return {letter for _person, letter in self.asked}

    @property
    def name(self) -> str:
        """How a failure names it."""
        return f"{self.endpoint} {self.method} {self.kind}"


class BadTable(ValueError):
    """A line that is no row, or says again what another row says."""


def column(text: str, letters: str, where: str) -> str:
    """The letters of a row, without the spaces that make it legible. Raises BadTable."""
    outcomes = text.replace(" ", "")
    if len(outcomes) != len(PEOPLE) or set(outcomes) - set(letters):
        raise BadTable(f"{where}: {text!r} is not one of {letters} for each of {PEOPLE}")
    return outcomes


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place, line) of each line that is no comment."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield f"{path.name}:{number}", line.rstrip()


def table(name: str) -> list[Row]:
    """The rows of one table. Raises BadTable."""
    names: list[str] = []
    known: dict[str, dict[tuple[str, str], str]] = {}
    others: list[tuple[str, str, str]] = []
    for where, line in lines(HERE / f"{name}.table"):
        if not line.startswith(" "):
            names = line.split()
            known |= {endpoint: {} for endpoint in names if endpoint not in known}
            continue
        methods, kinds, letters = line.split(maxsplit=2)
        outcomes = column(letters, "".join(OUTCOMES) + NOT_ASKED, where)
        for endpoint in names:
            for kind in kinds.split(","):
                for method in methods.split(","):
                    if method == "others":
                        others.append((endpoint, kind, outcomes))
                    elif (method, kind) in known[endpoint]:
                        raise BadTable(f"{where}: {endpoint} {method} {kind} is said twice")
                    else:
                        known[endpoint][method, kind] = outcomes
    for rows in known.values():
        _say_the_rest(rows)
    named = {endpoint: {method.partition(":")[0] for method, _kind in rows} for endpoint, rows in known.items()}
    for endpoint, kind, outcomes in others:
        known[endpoint] |= {
            (method, kind): _thinned(outcomes) if method in ("HEAD", "OPTIONS") else outcomes
            for method in METHODS
            if method not in named[endpoint]
        }
    return [Row(name, *key, outcomes) for name, rows in known.items() for key, outcomes in rows.items()]


def _say_the_rest(rows: dict[tuple[str, str], str]) -> None:
    """Add what rows mean beyond what they spell out: HEAD as GET, deleted as never there."""
    if not any(method == "HEAD" for method, _kind in rows):
        rows |= {("HEAD", kind): _thinned(outcomes) for (method, kind), outcomes in rows.items() if method == "GET"}
    rows |= {
        (method, kind.replace("gone", "deleted")): _thinned(outcomes)
        for (method, kind), outcomes in rows.items()
        if "gone" in kind
    }


def _thinned(outcomes: str) -> str:
    """A row's letters for one of each sort of people, the others not asked."""
    return "".join(
        letter if person in ONE_OF_EACH else NOT_ASKED for person, letter in zip(PEOPLE, outcomes, strict=True)
    )


def grid(name: str) -> Mapping[str, str]:
    """A table of who may know what: name -> the people, by their letters."""
    found: dict[str, str] = {}
    for where, line in lines(HERE / f"{name}.table"):
        noun, marks = line.split(maxsplit=1)
        if noun in found:
            raise BadTable(f"{where}: {noun} stands here twice")
        found[noun] = "".join(
            person for person, mark in zip(PEOPLE, column(marks, "x.", where), strict=True) if mark == "x"
        )
    return found
