"""How many migrations may run at once. Pure.

The caps are those of oVirt (two out of a host, two into one: `max_outgoing_migrations`) and KubeVirt (five in a
cluster): more of them at a time share the link, so that each takes longer and fewer converge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_OUT_OF_A_HOST = 2
MOST_INTO_A_HOST = 2
MOST_AT_ONCE = 5


@dataclass(frozen=True, slots=True)
class Route:
    """A guest's way from one host to another."""

    guest: int
    source: int
    destination: int


def may_begin(
    wanted: Iterable[Route],
    under_way: Sequence[Route],
    *,
    out_of_a_host: int = MOST_OUT_OF_A_HOST,
    into_a_host: int = MOST_INTO_A_HOST,
) -> list[Route]:
    """Those of `wanted`, in their order, that can begin beside what is under way without a cap being passed."""
    leaving = Counter(route.source for route in under_way)
    coming = Counter(route.destination for route in under_way)
    total = len(under_way)
    begun = []
    for route in wanted:
        if total >= MOST_AT_ONCE:
            break
        if leaving[route.source] >= out_of_a_host or coming[route.destination] >= into_a_host:
            continue
        leaving[route.source] += 1
        coming[route.destination] += 1
        total += 1
        begun.append(route)
    return begun
