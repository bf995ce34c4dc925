"""Where the VM is after a migration: the table line by line, and that it never does harm on any input."""

from __future__ import annotations

import itertools

import pytest

from hypervisor.types import Activity, PowerState, StateReason
from jobs.operations.migrate.settle import MENDABLE, SETTLED
from jobs.operations.migrate.truth import Presence, Sight, Truth, truth

ABSENT, DARK = Sight(Presence.ABSENT), Sight(Presence.UNREACHABLE)


def here(state: str, reason: str = "other", activity: str = "none") -> Sight:
    return Sight(Presence.HERE, PowerState(state), StateReason(reason), Activity(activity))


WAITING = here("paused", "migration")


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (here("running", activity="migration_out"), WAITING, Truth.IN_PROGRESS),
        (here("running"), ABSENT, Truth.STAYED),
        (here("running"), WAITING, Truth.LEFTOVER_DESTINATION),
        (here("paused", "migration", "migration_out"), WAITING, Truth.IN_PROGRESS),
        (WAITING, here("running", "migrated"), Truth.LEFTOVER_SOURCE),
        (WAITING, ABSENT, Truth.STRANDED_SOURCE),
        (WAITING, WAITING, Truth.STRANDED_BOTH),
        (here("paused", "postcopy"), here("running", "postcopy"), Truth.POSTCOPY),
        (here("paused", "postcopy_failed"), here("running", "postcopy_failed"), Truth.POSTCOPY_FAILED),
        (ABSENT, here("running", "migrated"), Truth.ARRIVED),
        (here("shut_off", "migrated"), here("running", "migrated"), Truth.ARRIVED),
        (here("shut_off", "shutdown"), ABSENT, Truth.STOPPED),
        (here("running"), here("running"), Truth.SPLIT),
        (ABSENT, ABSENT, Truth.VANISHED),
        (DARK, here("running", "migrated"), Truth.UNKNOWN),
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
            assert source.activity is not Activity.MIGRATION_OUT
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
