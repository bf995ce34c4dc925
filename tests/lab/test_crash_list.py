"""A few rounds of the crash list on real hypervisors; `script/bench crashes` plays all of it."""

from __future__ import annotations

import random

import pytest

from bench.crash.ground import Ground
from bench.crash.playing import play
from bench.crash.rounds import Fault, Moment, drawn

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

#: Each fault of another kind, at moments before, in and after the call.
ROUNDS = (
    (Fault.WORKER_KILLED, Moment.COPIED),
    (Fault.WORKER_STOPPED, Moment.FORGET_INTENT),
    (Fault.SOURCE_DAEMON_KILLED, Moment.COPIED),
    (Fault.DESTINATION_DAEMON_KILLED, Moment.PREPARING),
    (Fault.SOURCE_QEMU_KILLED, Moment.IN_POST_COPY),
    (Fault.DESTINATION_CUT, Moment.STOP_AND_COPY),
)
#: A moment that is short may be missed; then it is tried again.
TRIES = 4


def test_no_fault_in_the_middle_of_a_migration_loses_a_vm_or_a_snapshot_or_leaves_a_job_open(site):
    uuid = next(guest["uuid"] for guest in site.lab.status()["guests"] if guest["name"] == "small")
    ground = Ground(site.lab, site.stack, site.user, "small", uuid, {host.name: host for host in site.lab.hosts()})
    ground.mend()
    try:
        for number, (fault, moment) in enumerate(ROUNDS):
            row = counted(ground, number, fault, moment)
            assert row["violations"] == [], row
    finally:
        ground.mend()
        ground.reset()
    site.record_is_whole()


def counted(ground: Ground, number: int, fault: Fault, moment: Moment) -> dict:
    """A round whose fault met the job in flight."""
    chance = random.Random(f"selection/{number}")
    for _ in range(TRIES):
        row = play(ground, drawn(number, fault, moment, chance))
        if row["counts"]:
            return row
    raise AssertionError(f"{fault} at “{moment}” was missed {TRIES} times: {row}")
