"""Whether a migration will end: the policy by itself, on samples as QEMU gives them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.models import MigrationPolicy
from jobs.operations.migrate.convergence import SWITCHES_WITHIN, WAIT, Do, Move, Standing, next_move
from jobs.operations.migrate.passes import WINDOW_SECONDS, Passes, Sample
from jobs.operations.migrate.policies import policy_named

MIB = 2**20


def run(remaining_of_pass, *, seconds_per_pass=5.0, bps=20 * MIB, dirty=40 * MIB, throttle=0):
    """Samples of passes that each begin with so many bytes remaining."""
    return [
        Sample(number * seconds_per_pass, number + 1, remaining, bps, dirty, throttle)
        for number, remaining in enumerate(remaining_of_pass)
    ]


def decide(samples, name="gentle", *, cap=None, **standing) -> Move:
    policy = policy_named(name, cap)
    state = Standing(**{"downtime_ms": policy.first_downtime_ms, **standing})
    return next_move(Passes.of(samples), policy, state, memory_bytes=512 * MIB)


STALLED = run([64 * MIB] * 20)  # 64 MiB at 20 MiB/s: 3.2 s


def test_a_migration_that_makes_headway_is_left_alone():
    assert decide(run([400 * MIB, 200 * MIB, 100 * MIB, 50 * MIB])) == WAIT
    assert decide([]) == WAIT


def test_without_headway_the_allowed_pause_grows_to_its_cap_and_no_further():
    move = decide(run([64 * MIB] * 4))
    assert move == Move(Do.RAISE_DOWNTIME, 200)
    assert decide(run([64 * MIB] * 4), downtime_ms=480) == Move(Do.RAISE_DOWNTIME, 500)
    assert decide(run([64 * MIB] * 4), downtime_ms=500) == WAIT
    assert decide(run([64 * MIB] * 4), raised_at=14.0) == WAIT  # not so soon again
    assert decide(run([64 * MIB] * 2, seconds_per_pass=15)) == WAIT  # nor in the second pass


def test_a_gentle_migration_that_stalls_is_stopped_with_the_figures():
    move = decide(STALLED, downtime_ms=500)
    assert move.do is Do.ABORT
    for figure in ("made no headway", "40 MiB/s", "20 MiB/s", "3200 ms", "750 ms"):
        assert figure in move.sentence


def test_it_is_not_stopped_while_the_guest_is_still_being_slowed_down():
    slower = [replace(sample, throttle=20 + int(sample.at)) for sample in STALLED]
    assert decide(slower, downtime_ms=500) == WAIT
    as_slow_as_can_be = [replace(sample, throttle=99) for sample in STALLED]
    move = decide(as_slow_as_can_be, downtime_ms=500)
    assert move.do is Do.ABORT
    assert "slowed down by 99 %" in move.sentence


def test_a_short_pause_is_better_than_a_guest_that_all_but_stands_still():
    slowed = run([40 * MIB, 40 * MIB, 20 * MIB, 12 * MIB], throttle=90)
    assert decide(slowed) == Move(Do.SWITCH, 750)
    assert decide(slowed, "pause-ok") == Move(Do.SWITCH, 750)
    assert decide([replace(sample, throttle=80) for sample in slowed]) == WAIT  # it may do without
    assert decide(run([40 * MIB, 40 * MIB, 26 * MIB, 12 * MIB], throttle=90)) == WAIT  # the next pass will be short
    longer = run([40 * MIB, 40 * MIB, 30 * MIB, 22 * MIB], throttle=90)
    assert decide(longer, "pause-ok") == WAIT  # 1.1 s is not better


def test_what_the_best_pass_would_have_taken_is_allowed_where_the_policy_has_it():
    short = run([12 * MIB] * 20)  # 600 ms
    assert decide(short, downtime_ms=500) == Move(Do.SWITCH, 750)
    assert decide(STALLED, "pause-ok") == Move(Do.SWITCH, 4000)
    assert decide(run([99 * MIB] * 20), "pause-ok") == Move(Do.SWITCH, 5000)  # 4950 ms and nothing to spare
    assert decide(run([101 * MIB] * 20), "pause-ok").do is Do.ABORT
    assert decide(STALLED, "large") == Move(Do.SWITCH, 4000)
    swinging = run([64 * MIB, 40 * MIB, 64 * MIB] * 8)
    assert decide(swinging, "pause-ok") == Move(Do.SWITCH, 2500)  # at the minimum, not at what is left just now


def test_an_assured_one_switches_to_post_copy_instead_and_is_then_left_alone():
    assert decide(STALLED, "assured", downtime_ms=500).do is Do.POSTCOPY
    assert decide(STALLED, "assured", downtime_ms=500, in_postcopy=True) == WAIT
    assert decide(run([12 * MIB] * 20), "assured") == Move(Do.SWITCH, 750)  # the shorter way


def test_a_switch_that_was_asked_for_is_waited_for_then_widened_then_given_up():
    now = STALLED[-1].at
    assert decide(STALLED, "pause-ok", downtime_ms=4000, switch_asked_at=now - 1) == WAIT
    longer = decide(STALLED, "pause-ok", downtime_ms=4000, switch_asked_at=now - SWITCHES_WITHIN * 0.6)
    assert longer == Move(Do.RAISE_DOWNTIME, 5000)
    given_up = decide(STALLED, "pause-ok", downtime_ms=5000, switch_asked_at=now - SWITCHES_WITHIN - 1)
    assert given_up.do is Do.ABORT
    assert "a pause of 5000 ms was allowed" in given_up.sentence
    late = decide(STALLED, "assured", downtime_ms=750, switch_asked_at=now - SWITCHES_WITHIN - 1)
    assert late.do is Do.POSTCOPY


def test_a_dead_link_is_named_as_such():
    silent = [Sample(at=float(t), iteration=1, remaining=100 * MIB, bps=0, dirty_bps=0) for t in range(0, 200, 5)]
    for name in MigrationPolicy.values:  # never forced: what was not sent cannot be made up for by a pause
        move = decide(silent, name)
        assert move.do is Do.ABORT
        assert "link" in move.sentence
    trickle = [replace(sample, remaining=100 * MIB - int(sample.at)) for sample in silent]
    assert decide(trickle) == WAIT


def test_a_deadline_ends_what_only_creeps():
    creeping = run([(200 - n) * MIB for n in range(0, 190, 10)], seconds_per_pass=20)
    assert creeping[-1].at > 300
    move = decide(creeping)
    assert move.do is Do.ABORT
    assert "did not end within 300 s" in move.sentence
    assert decide(creeping, "assured").do is Do.POSTCOPY
    assert decide(creeping[:10]) == WAIT


def test_the_callers_cap_counts():
    assert policy_named("gentle", 50).first_downtime_ms == 50
    move = decide(STALLED, cap=100, downtime_ms=100)
    assert move.do is Do.ABORT
    assert "100 ms are allowed" in move.sentence
    assert decide(run([12 * MIB] * 20), cap=599).do is Do.ABORT  # 600 ms: no grace above what a person set
    assert decide(STALLED, "pause-ok", cap=3300) == Move(Do.SWITCH, 3300)
    assert policy_named("pause-ok", 9000).max_downtime_ms == 500  # stepwise as ever, then up to what was set
    assert policy_named("gentle", 2000).max_downtime_ms == 2000


samples = st.lists(
    st.builds(
        Sample,
        at=st.floats(0, 2000),
        iteration=st.integers(0, 60),
        remaining=st.integers(0, 2**34),
        bps=st.integers(0, 2**31),
        dirty_bps=st.integers(0, 2**31),
        throttle=st.integers(0, 99),
    ),
    max_size=40,
).map(lambda items: sorted(items, key=lambda sample: (sample.at, sample.iteration)))


@given(
    samples,
    st.sampled_from(MigrationPolicy.values),
    st.one_of(st.none(), st.integers(1, 20_000)),
    st.integers(1, 20_000),
    st.one_of(st.none(), st.floats(0, 2000)),
)
def test_any_samples_give_a_lawful_move(items, name, cap, downtime_ms, switch_asked_at):
    policy = policy_named(name, cap)
    standing = Standing(min(downtime_ms, policy.longest_pause_ms), switch_asked_at=switch_asked_at)
    move = next_move(Passes.of(items), policy, standing, memory_bytes=2**30)
    if move.do is Do.RAISE_DOWNTIME:
        assert standing.downtime_ms < move.downtime_ms <= policy.longest_pause_ms
    if move.do is Do.SWITCH:
        assert standing.downtime_ms <= move.downtime_ms <= policy.longest_pause_ms
        assert switch_asked_at is None
    if cap is not None:
        assert move.downtime_ms <= cap
    if move.do is Do.POSTCOPY:
        assert policy.postcopy
    assert bool(move.sentence) == (move.do is Do.ABORT)


@given(st.sampled_from(MigrationPolicy.values), st.integers(1, 300), st.integers(1, 400), st.integers(1, 60))
def test_every_policy_ends_a_migration_that_never_would(name, hot_mib, link_mib, seconds_per_pass):
    """A guest that writes its hot memory in each pass, over a link of any speed: in finite time it ends somehow."""
    policy, passes = policy_named(name), Passes()
    standing = Standing(policy.first_downtime_ms)
    for number in range(3000 // seconds_per_pass):
        passes.add(Sample(number * seconds_per_pass, number + 1, hot_mib * MIB, link_mib * MIB, 0))
        if 1000 * hot_mib / link_mib <= standing.downtime_ms:
            return  # QEMU switches
        move = next_move(passes, policy, standing, memory_bytes=512 * MIB)
        if move.do in (Do.POSTCOPY, Do.ABORT):
            assert number * seconds_per_pass <= 300 + WINDOW_SECONDS + SWITCHES_WITHIN + 2 * seconds_per_pass
            return
        if move.do is not Do.WAIT:
            standing.downtime_ms, standing.raised_at = move.downtime_ms, number * seconds_per_pass
            if move.do is Do.SWITCH:
                standing.switch_asked_at = number * seconds_per_pass
    raise AssertionError("it ran on for ever")


@given(samples)
def test_progress_never_goes_back(items):
    shown = [Passes.of(items[:length]).percent(2**34) for length in range(1, len(items) + 1)]
    assert shown == sorted(shown)
    assert all(0 <= percent <= 99 for percent in shown)


@pytest.mark.parametrize("memory", [0, -1])
def test_no_memory_known_yet_shows_no_progress(memory):
    assert Passes.of(run([5])).percent(memory) == 0
    assert Passes().percent(MIB) == 0
