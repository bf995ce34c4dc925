"""The crash list's checker finds each wrong that is planted in a history that was right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.crash.history import Before, Reading, Standing, Told, course, ran_twice, violations

SNAPSHOTS = {"s0": "", "s1": "s0"}
BEFORE = Before("host1", "host2", SNAPSHOTS, autostart=True, guest_killed=False)
GONE = Standing("absent")
THERE = Standing("running", persistent=True, autostart=True, snapshots=SNAPSHOTS, qemu=True)
OFF = replace(THERE, state="off", qemu=False)
TOLD = Told(
    job_state="succeeded",
    code="",
    locks=0,
    ends=1,
    unfinished=0,
    effects=[("migrate", "intent", "host1"), ("migrate", "outcome", "host1")],
    shown_state="running",
    shown_host="host2",
    seconds_after_heal=3.0,
)
FAILED = replace(TOLD, job_state="failed", code="migration_failed", shown_host="host1")


def history(*words: str) -> list[Reading]:
    """Readings from "host1:running host2:paused ..." in turn, one after the other."""
    told = [word.split(":") for word in words]
    return [Reading(host, float(at), at + 0.5, state) for at, (host, state) in enumerate(told)]


MOVED = history(
    "host1:running", "host2:absent", "host1:running", "host2:paused", "host1:paused", "host2:running", "host1:absent"
)


def found(**changes: object) -> list[str]:
    """What the checker says of a migration that arrived, with these changes."""
    given_ = {"history": MOVED, "standings": {"host1": GONE, "host2": THERE}, "told": TOLD, "before": BEFORE} | changes
    return violations(**given_)  # type: ignore[arg-type]


def test_a_migration_that_arrived_is_right():
    assert found() == []


def test_one_that_failed_and_left_all_as_it_was_is_right():
    assert found(standings={"host1": THERE, "host2": GONE}, told=FAILED) == []


@pytest.mark.parametrize(
    "change",
    [
        {"history": [*MOVED, *history("host1:running", "host2:running", "host1:running")]},
        {"standings": {"host1": GONE, "host2": GONE}},
        {"standings": {"host1": THERE, "host2": THERE}},
        {"standings": {"host1": GONE, "host2": OFF}},
        {"standings": {"host1": GONE, "host2": replace(THERE, state="paused")}},
        {"standings": {"host1": Standing("paused", qemu=True), "host2": THERE}},
        {"standings": {"host1": Standing("off"), "host2": THERE}},
        {"standings": {"host1": Standing("absent", qemu=True), "host2": THERE}},
        {"standings": {"host1": THERE, "host2": GONE}},
        {"standings": {"host1": GONE, "host2": replace(THERE, mark="job")}},
        {"standings": {"host1": GONE, "host2": replace(THERE, persistent=False)}},
        {"standings": {"host1": GONE, "host2": replace(THERE, autostart=False)}},
        {"standings": {"host1": GONE, "host2": replace(THERE, snapshots={"s0": ""})}},
        {"standings": {"host1": GONE, "host2": replace(THERE, snapshots={"s0": "", "s1": ""})}},
        {"standings": {"host1": GONE, "host2": replace(THERE, snapshots=SNAPSHOTS | {"s2": "s1"})}},
        {"told": replace(TOLD, job_state="lost")},
        {"told": replace(TOLD, job_state="errored")},
        {"told": replace(TOLD, job_state="failed")},
        {"told": replace(TOLD, job_state="cancelled")},
        {"told": replace(TOLD, locks=1)},
        {"told": replace(TOLD, changed_after_end=True)},
        {"told": replace(TOLD, ends=0)},
        {"told": replace(TOLD, ends=2)},
        {"told": replace(TOLD, unfinished=1)},
        {"told": replace(TOLD, effects=[("migrate", "outcome", "host1")])},
        {"told": replace(TOLD, effects=[("migrate", "intent", "host1")] * 2)},
        {"told": replace(TOLD, seconds_after_heal=61.0)},
        {"told": replace(TOLD, chain="an event is missing")},
        {"told": replace(TOLD, shown_host="host1")},
        {"told": replace(TOLD, shown_state="paused")},
    ],
)
def test_each_planted_wrong_is_found(change):
    assert found(**change)


def test_a_guest_whose_qemu_was_killed_may_be_off_where_the_job_says_so():
    killed = replace(BEFORE, guest_killed=True)
    off = {"host1": OFF, "host2": GONE}
    assert found(standings=off, told=replace(FAILED, shown_state="shut_off"), before=killed) == []
    assert found(standings=off, told=replace(FAILED, shown_state="shut_off"))
    assert found(standings=off, told=TOLD, before=killed), "the job says that it succeeded"
    assert found(standings={"host1": GONE, "host2": GONE}, told=FAILED, before=killed), "but never lost"


def test_a_half_that_its_own_host_ended_is_a_guest_killed_and_one_that_slipway_ended_is_not():
    halves = [
        Reading("host1", 0.0, 0.1, "paused", 12),
        Reading("host2", 0.2, 0.3, "running", 10),
        Reading("host2", 0.4, 0.5, "absent"),
    ]
    off, told = {"host1": OFF, "host2": GONE}, replace(FAILED, shown_state="shut_off")
    assert found(history=halves, standings=off, told=told) == []
    by_us = replace(told, effects=[*told.effects, ("force_off", "intent", "host2")])
    assert found(history=halves, standings=off, told=by_us)
    assert found(history=halves[:2], standings=off, told=told), "both were there"


def test_hosts_that_take_turns_between_two_looks_are_no_two_runs():
    """The source is asked, the guest switches, the destination is asked."""
    assert ran_twice(history("host1:running", "host2:running", "host1:paused", "host2:running")) == []
    assert ran_twice(history("host1:running", "host2:running", "host1:absent")) == []
    back = history("host1:running", "host2:running", "host1:paused", "host2:absent", "host1:running")
    assert ran_twice(back) == []


def test_an_answer_that_did_not_come_hides_nothing():
    """A daemon that was killed in between and runs it as before ran it in between."""
    assert ran_twice(history("host1:running", "host1:unreadable", "host2:running", "host1:running"))


@given(st.lists(st.sampled_from(["ask host1", "ask host2", "hand over"]), max_size=40))
def test_a_run_that_is_handed_over_is_never_taken_for_two(acts):
    """One runs at a time in truth, and who lets go is seen once without it: in whatever order, nothing is found."""
    holder, other, readings = "host1", "host2", []
    for at, act in enumerate(acts):
        if act == "hand over":
            readings.append(Reading(holder, at, at + 0.5, "paused"))
            holder, other = other, holder
        else:
            host = act.split()[1]
            readings.append(Reading(host, at, at + 0.5, "running" if host == holder else "absent"))
    assert ran_twice(readings) == []


def test_a_course_tells_what_changed_only():
    rows = course(history("host1:running", "host2:absent", "host1:running", "host1:paused"))
    assert [row[0] + " " + row[2] for row in rows] == ["host1 running", "host2 absent", "host1 paused"]
