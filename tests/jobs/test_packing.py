"""Which guest goes where, how many at once, and when it is tried again: the decisions behind a drain, by themselves."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobs.operations.hosts.pace import MOST_AT_ONCE, MOST_INTO_A_HOST, MOST_OUT_OF_A_HOST, Caps, Route, Slots
from jobs.operations.hosts.packing import Guest, Room, pack
from jobs.operations.hosts.survey import Obstacle
from jobs.operations.hosts.tries import FINAL, MOST_TRIES, Ended, next_try

NOW = datetime(2026, 11, 30, tzinfo=UTC)

keys = st.integers(1, 40)
guests = st.lists(
    st.builds(Guest, keys, st.integers(1, 4000), st.frozensets(st.integers(100, 104), max_size=3)),
    max_size=30,
    unique_by=lambda guest: guest.key,
)
rooms = st.lists(
    st.builds(Room, st.integers(100, 104), st.integers(-500, 9000)), max_size=5, unique_by=lambda room: room.key
)


@given(guests, rooms)
def test_no_host_takes_more_than_it_has_left_and_nobody_is_forgotten(some, there):
    plan = pack(some, there)
    left = {room.key: room.left_mib for room in there}
    for guest in some:
        assert (guest.key in plan.places) != (guest.key in plan.homeless)
        if guest.key in plan.places:
            assert plan.places[guest.key] not in guest.barred
            left[plan.places[guest.key]] -= guest.needs_mib
    used = set(plan.places.values())
    assert all(left[key] >= 0 for key in used)


@given(guests, rooms)
def test_nobody_is_homeless_beside_room_enough(some, there):
    plan = pack(some, there)
    left = {room.key: room.left_mib for room in there}
    sizes = {guest.key: guest for guest in some}
    for key, host in plan.places.items():
        left[host] -= sizes[key].needs_mib
    for key in plan.homeless:
        guest = sizes[key]
        assert all(left[host] < guest.needs_mib for host in left if host not in guest.barred)


def test_it_levels_while_everybody_fits_and_packs_tightly_when_that_is_what_it_takes():
    level = pack([Guest(1, 100), Guest(2, 100)], [Room(7, 1000), Room(8, 950)])
    assert level.places == {1: 7, 2: 8}
    # Levelling would put the small ones on the large host and leave no place for the last.
    tight = pack([Guest(1, 400), Guest(2, 300), Guest(3, 600)], [Room(7, 1000), Room(8, 300)])
    assert (tight.places, tight.homeless) == ({3: 7, 1: 7, 2: 8}, frozenset())


routes = st.lists(
    st.builds(Route, keys, st.integers(1, 3), st.integers(4, 7)), max_size=25, unique_by=lambda route: route.guest
)


def begun_of(wanted: list[Route], under_way: list[Route], caps: Caps) -> list[Route]:
    """Those of `wanted` that find a slot, in their order."""
    slots, begun = Slots(caps, under_way), []
    for route in wanted:
        if slots.has_one_for(route):
            slots.take(route)
            begun.append(route)
    return begun


@given(routes, routes, st.builds(Caps, st.integers(1, 5), st.integers(1, 5), st.integers(1, 8)))
def test_what_begins_never_passes_a_cap(wanted, under_way, caps):
    begun = begun_of(wanted, under_way, caps)
    if not begun:
        return
    together = [*under_way, *begun]
    assert len(together) <= caps.at_once
    leaving, coming = Counter(r.source for r in together), Counter(r.destination for r in together)
    for route in begun:
        assert leaving[route.source] <= caps.out_of_a_host
        assert coming[route.destination] <= caps.into_a_host


@given(routes, routes)
def test_nothing_is_held_back_without_a_full_cap(wanted, under_way):
    begun = begun_of(wanted, under_way, Caps())
    together = [*under_way, *begun]
    leaving, coming = Counter(r.source for r in together), Counter(r.destination for r in together)
    for route in wanted:
        if route not in begun:
            full = leaving[route.source] >= MOST_OUT_OF_A_HOST or coming[route.destination] >= MOST_INTO_A_HOST
            assert full or len(together) >= MOST_AT_ONCE


def test_it_begins_as_many_as_the_caps_allow():
    wanted = [Route(number, 1, 10 + number % 3) for number in range(9)]
    assert len(begun_of(wanted, [], Caps())) == MOST_OUT_OF_A_HOST
    assert len(begun_of(wanted, [], Caps(out_of_a_host=5))) == 5
    assert begun_of(wanted, [Route(90, 1, 20), Route(91, 1, 21)], Caps()) == []


def at(seconds: float, code: str = "") -> Ended:
    return Ended(NOW + timedelta(seconds=seconds), code, f"why: {code}")


def test_a_vm_that_never_failed_or_last_succeeded_is_tried_now():
    assert next_try([], NOW) is None
    assert next_try([at(-5, "host_unreachable"), at(-4)], NOW) is None


def test_a_failure_is_tried_again_after_a_pause_that_doubles_and_then_given_up():
    assert next_try([at(0, "host_unreachable")], NOW) == NOW + timedelta(seconds=10)
    assert next_try([at(0, "host_unreachable")], NOW + timedelta(seconds=11)) is None
    twice = [at(0, "host_unreachable"), at(20, "not_converging")]
    assert next_try(twice, NOW + timedelta(seconds=30)) == NOW + timedelta(seconds=40)
    often = [at(number, "host_unreachable") for number in range(MOST_TRIES)]
    assert next_try(often, NOW + timedelta(days=1)) == Obstacle("host_unreachable", "why: host_unreachable")


def test_what_a_person_decided_or_has_to_mend_is_not_tried_again():
    for code in FINAL:
        assert next_try([at(-3600, code)], NOW) == Obstacle(code, f"why: {code}")
