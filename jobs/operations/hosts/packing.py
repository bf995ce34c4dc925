"""Which guest goes to which host: the whole plan at once, before anything moves. Pure: sizes in, places out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guest:
    """Something to place. `needs_mib` is what it takes of a host, overhead included; to `barred` hosts it cannot go."""

    key: int
    needs_mib: int
    barred: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Room:
    """A host with what it has left."""

    key: int
    left_mib: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Guest -> host, in the order in which they were placed (the largest first), and the guests without a place."""

    places: dict[int, int]
    homeless: frozenset[int]


#: Whether a guest may not go to a host, with what was placed before it (guest -> host).
Forbidden = Callable[[int, int, Mapping[int, int]], bool]


def pack(guests: Iterable[Guest], rooms: Sequence[Room], forbidden: Forbidden = lambda *_: False) -> Plan:
    """Give every guest a host, largest first, so that no host ever takes more than it has left, and none takes what is
    `forbidden` to it.

    First levelling (each goes where most is left), which leaves the hosts evenly used; where a guest finds no place in
    that way, tightly (each goes where least is left that still suffices, the best-fit-decreasing of bin packing, which
    needs at most 11/9 of the fewest bins: Johnson 1973), and whichever places more memory.
    """
    ordered = sorted(guests, key=lambda guest: (-guest.needs_mib, guest.key))
    level = _place(ordered, rooms, lambda left: -left, forbidden)
    if not level.homeless:
        return level
    tight = _place(ordered, rooms, lambda left: left, forbidden)
    sizes = {guest.key: guest.needs_mib for guest in ordered}
    return min(level, tight, key=lambda plan: sum(sizes[key] for key in plan.homeless))


def _place(
    ordered: Sequence[Guest], rooms: Sequence[Room], preferred: Callable[[int], int], forbidden: Forbidden
) -> Plan:
    left = {room.key: room.left_mib for room in rooms}
    places: dict[int, int] = {}
    homeless = set()
    for guest in ordered:
        fitting = [
            key
            for key in left
            if left[key] >= guest.needs_mib and key not in guest.barred and not forbidden(guest.key, key, places)
        ]
        if not fitting:
            homeless.add(guest.key)
            continue
        chosen = min(fitting, key=lambda key: (preferred(left[key]), key))
        left[chosen] -= guest.needs_mib
        places[guest.key] = chosen
    return Plan(places, frozenset(homeless))
