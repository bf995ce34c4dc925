"""How many migrations may run at once. Pure.

The caps are those of oVirt (two out of a host, two into one: `max_outgoing_migrations`) and KubeVirt (five in a
cluster): more of them at a time share the link, so that each takes longer and fewer converge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MOST_OUT_OF_A_HOST = 2
MOST_INTO_A_HOST = 2
MOST_AT_ONCE = 5


@dataclass(frozen=True, slots=True)
class Caps:
    """What a job allows itself; `at_once` is for everybody."""

    out_of_a_host: int = MOST_OUT_OF_A_HOST
    into_a_host: int = MOST_INTO_A_HOST
    at_once: int = MOST_AT_ONCE


@dataclass(frozen=True, slots=True)
class Route:
    """A guest's way from one host to another."""

    guest: int
    source: int
    destination: int


class Slots:
    """The places for migrations that are left beside what is under way."""

    def __init__(self, caps: Caps, under_way: Iterable[Route]) -> None:
        self._caps = caps
        self._leaving: Counter[int] = Counter()
        self._coming: Counter[int] = Counter()
        self._taken = 0
        for route in under_way:
            self.take(route)

    def take(self, route: Route) -> None:
        """Count a migration as under way."""
        self._leaving[route.source] += 1
        self._coming[route.destination] += 1
        self._taken += 1

    def has_one_for(self, route: Route) -> bool:
        """Whether one more can begin without a cap being passed."""
        return (
            self._taken < self._caps.at_once
            and self._leaving[route.source] < self._caps.out_of_a_host
            and self._coming[route.destination] < self._caps.into_a_host
        )
