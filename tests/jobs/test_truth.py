"""Where the VM is after a migration: the table line by line, and that it never does harm on any input."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from hypervisor.types import Activity, PowerState, StateReason
from jobs.operations.migrate.settle import MENDABLE, MENDINGS, SETTLED
from jobs.operations.migrate.truth import Presence, Sight, Truth, truth

ABSENT, DARK = Sight(Presence.ABSENT), Sight(Presence.UNREACHABLE)


def here(state: str, reason: str = "other", activity: str = "none", *, persistent: bool = True) -> Sight:
    return Sight(Presence.HERE, PowerState(state), StateReason(reason), Activity(activity), persistent)


WAITING = here("paused", "migration")
ARRIVED = here("running", "migrated")
OUT_HALF, IN_HALF = here("paused", "postcopy"), here("running", "postcopy")
OUT_BROKEN, IN_BROKEN = here("paused", "postcopy_failed"), here("running", "postcopy_failed")


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (here("running", activity="migration_out"), WAITING, Truth.IN_PROGRESS),
        (here("running", activity="other"), ABSENT, Truth.UNKNOWN),
        (here("running"), ABSENT, Truth.STAYED),
        (here("running"), WAITING, Truth.LEFTOVER_DESTINATION),
        (here("running"), here("shut_off", "crashed"), Truth.LEFTOVER_COPY),
        (here("paused", "migration", "migration_out"), WAITING, Truth.IN_PROGRESS),
        (WAITING, ARRIVED, Truth.LEFTOVER_SOURCE),
        (WAITING, ABSENT, Truth.STRANDED_SOURCE),
        (WAITING, WAITING, Truth.STRANDED_BOTH),
        (here("paused", "postcopy", "migration_out"), IN_HALF, Truth.POSTCOPY),
        (OUT_HALF, IN_HALF, Truth.POSTCOPY),
        (OUT_BROKEN, IN_BROKEN, Truth.POSTCOPY_FAILED),
        (OUT_BROKEN, IN_HALF, Truth.POSTCOPY_FAILED),
        (here("paused", "postcopy_failed", "migration_out"), IN_BROKEN, Truth.POSTCOPY_FAILED),
        (here("paused", "postcopy_failed", "migration_out"), ABSENT, Truth.LOST_AT_DESTINATION),
        (OUT_HALF, IN_BROKEN, Truth.POSTCOPY_FAILED),
        (OUT_BROKEN, here("paused", "postcopy_failed"), Truth.POSTCOPY_FAILED),
        (OUT_HALF, ARRIVED, Truth.LEFTOVER_SOURCE),
        (OUT_HALF, WAITING, Truth.UNKNOWN),
        (OUT_HALF, ABSENT, Truth.LOST_AT_DESTINATION),
        (OUT_BROKEN, here("shut_off", "crashed"), Truth.LOST_AT_DESTINATION),
        (here("shut_off", "crashed"), IN_HALF, Truth.LOST_AT_SOURCE),
        (here("shut_off", "failed"), IN_BROKEN, Truth.LOST_AT_SOURCE),
        (here("shut_off"), IN_HALF, Truth.UNKNOWN),
        (ABSENT, IN_HALF, Truth.ARRIVED),
        (ABSENT, here("running", "postcopy", "migration_in"), Truth.POSTCOPY),
        (ABSENT, ARRIVED, Truth.ARRIVED),
        (here("shut_off", "migrated"), ARRIVED, Truth.LEFTOVER_DEFINITION),
        (here("shut_off"), ARRIVED, Truth.LEFTOVER_DEFINITION),
        (here("shut_off", "migrated"), here("running", "migrated", persistent=False), Truth.ARRIVED),
        (here("shut_off", "shutdown"), ABSENT, Truth.STOPPED),
        (here("shut_off", "crashed"), WAITING, Truth.LEFTOVER_DESTINATION),
        (here("shut_off", "crashed"), here("shut_off", "destroyed"), Truth.LEFTOVER_COPY),
        (ABSENT, here("shut_off", "shutdown"), Truth.STOPPED),
        (ABSENT, WAITING, Truth.UNKNOWN),
        (here("running"), here("running"), Truth.SPLIT),
        (here("running"), IN_HALF, Truth.SPLIT),
        (here("running", "postcopy"), ABSENT, Truth.STAYED),
        (here("running", "postcopy_failed"), WAITING, Truth.LEFTOVER_DESTINATION),
        (here("running"), here("paused", "postcopy_failed"), Truth.UNKNOWN),
        (ABSENT, ABSENT, Truth.VANISHED),
        (DARK, ARRIVED, Truth.UNKNOWN),
        (here("running"), DARK, Truth.UNKNOWN),
    ],
)
def test_each_line_of_the_table(source, destination, expected):
    assert truth(source, destination) is expected


EVERY = [
    ABSENT,
    DARK,
    *(
        Sight(Presence.HERE, state, reason, activity)
        for state, reason, activity in itertools.product(
            PowerState, StateReason, (Activity.NONE, Activity.MIGRATION_OUT)
        )
    ),
]


def test_no_pair_of_sights_leads_to_harm():
    """Over all pairs: nothing is mended while a host is dark, a job runs, or both run; success needs the VM to run
    there.
    """
    for source, destination in itertools.product(EVERY, EVERY):
        verdict = truth(source, destination)
        if verdict in MENDABLE:
            assert DARK not in (source, destination)
            assert source.activity is not Activity.MIGRATION_OUT or source == replace(
                OUT_BROKEN, activity=source.activity
            )
            assert not (source.runs and destination.runs)
        if verdict is Truth.ARRIVED:
            assert destination.runs
            assert not source.runs
        if verdict is Truth.STAYED:
            assert source.runs
        if source.runs and destination.runs:
            assert verdict not in SETTLED | MENDABLE
        if verdict is Truth.LEFTOVER_SOURCE:
            assert destination.runs, "the source's rest is removed only where the destination runs"
        if verdict in (Truth.STRANDED_SOURCE, Truth.STRANDED_BOTH):
            assert not destination.runs, "the source runs on only where the destination does not"
            assert not source.gives, "half a guest never runs on"
        if verdict in MENDINGS and MENDINGS[verdict].call == "undefine":
            other = destination if MENDINGS[verdict].at_source else source
            assert other.presence is Presence.HERE, "the other host has it"
            assert other.persistent or other is source, "and keeps it"
            assert (source if MENDINGS[verdict].at_source else destination).is_off
        if verdict in (Truth.LOST_AT_SOURCE, Truth.LOST_AT_DESTINATION):
            halves = (source.gives, destination.takes)
            assert halves.count(True) == 1, "one half is there, and the other host says that its own is not"
        if verdict in MENDINGS and MENDINGS[verdict].call == "force_off":
            victim = source if MENDINGS[verdict].at_source else destination
            assert not victim.runs or (victim is destination and victim.takes), "nothing that runs whole is ended"


def test_each_mending_is_of_what_is_mendable():
    """And what it leads to is mendable too, so that no effect follows from one reading alone but its own next step."""
    for mending in MENDINGS.values():
        assert mending.then is None or mending.then in MENDABLE
