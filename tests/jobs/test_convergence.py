"""Whether a migration will end: the policy by itself, on samples as QEMU gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.operations.migrate.convergence import (
    WAIT,
    Do,
    Sample,
    low_water_percent,
    next_move,
    policy_named,
)

MIB = 2**20


def run(remaining_of_pass, *, seconds_per_pass=5.0, bps=20 * MIB, dirty=40 * MIB):
    """Samples of passes that each begin with so many bytes remaining."""
    return [
        Sample(at=number * seconds_per_pass, iteration=number + 1, remaining=remaining, bps=bps, dirty_bps=dirty)
        for number, remaining in enumerate(remaining_of_pass)
    ]


def decide(samples, name="gentle", *, downtime_ms=300, raised_at=0.0, cap=None, postcopy=False):
    return next_move(
        samples,
        policy_named(name, cap),
        downtime_ms=downtime_ms,
        raised_at=raised_at,
        memory_bytes=512 * MIB,
        in_postcopy=postcopy,
    )


def test_a_migration_that_makes_headway_is_left_alone():
    assert decide(run([400 * MIB, 200 * MIB, 100 * MIB, 50 * MIB])) == WAIT


def test_without_headway_the_allowed_pause_grows_to_its_cap_and_no_further():
    move = decide(run([64 * MIB] * 4))
    assert move.do is Do.RAISE_DOWNTIME
    assert 300 < move.downtime_ms <= 500
    assert decide(run([64 * MIB] * 4), raised_at=14.0) == WAIT  # not so soon again


def test_a_gentle_migration_that_stalls_is_stopped_with_the_figures():
    move = decide(run([64 * MIB] * 20), downtime_ms=500)
    assert move.do is Do.ABORT
    for figure in ("40 MiB/s", "20 MiB/s", "3200 ms", "500 ms"):
        assert figure in move.sentence


def test_an_assured_one_switches_to_post_copy_instead_and_is_then_left_alone():
    assert decide(run([64 * MIB] * 20), "assured", downtime_ms=500).do is Do.POSTCOPY
    assert decide(run([64 * MIB] * 20), "assured", downtime_ms=500, postcopy=True) == WAIT


def test_a_dead_link_is_named_as_such():
    silent = [Sample(at=float(t), iteration=1, remaining=100 * MIB, bps=0, dirty_bps=0) for t in range(0, 200, 5)]
    move = decide(silent)
    assert move.do is Do.ABORT
    assert "link" in move.sentence


def test_the_callers_cap_counts():
    assert policy_named("gentle", 50).first_downtime_ms == 50
    move = decide(run([64 * MIB] * 20), cap=100, downtime_ms=100)
    assert move.do is Do.ABORT
    assert "100 ms are allowed" in move.sentence


samples = st.lists(
    st.builds(
        Sample,
        at=st.floats(0, 2000),
        iteration=st.integers(0, 60),
        remaining=st.integers(0, 2**34),
        bps=st.integers(0, 2**31),
        dirty_bps=st.integers(0, 2**31),
    ),
    max_size=40,
).map(lambda items: sorted(items, key=lambda sample: (sample.at, sample.iteration)))


@given(
    samples,
    st.sampled_from(["gentle", "assured", "pause-ok"]),
    st.one_of(st.none(), st.integers(1, 20_000)),
    st.integers(1, 20_000),
)
def test_any_samples_give_a_lawful_move(items, name, cap, downtime_ms):
    policy = policy_named(name, cap)
    move = next_move(items, policy, downtime_ms=downtime_ms, raised_at=0, memory_bytes=2**30, in_postcopy=False)
    if move.do is Do.RAISE_DOWNTIME:
        assert downtime_ms < move.downtime_ms <= policy.max_downtime_ms
    if move.do is Do.POSTCOPY:
        assert policy.postcopy
    assert bool(move.sentence) == (move.do is Do.ABORT)


@given(samples)
def test_progress_never_goes_back(items):
    shown = [low_water_percent(items[:length], 2**34) for length in range(1, len(items) + 1)]
    assert shown == sorted(shown)
    assert all(0 <= percent <= 99 for percent in shown)


@pytest.mark.parametrize("memory", [0, -1])
def test_no_memory_known_yet_shows_no_progress(memory):
    assert low_water_percent(run([5]), memory) == 0
