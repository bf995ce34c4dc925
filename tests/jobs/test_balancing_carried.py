"""Carrying a plan out: a short plan stands by itself, and each move of a plan has its ground when its turn comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.balancing.binding import fellows
from jobs.balancing.board import Board
from jobs.balancing.estate import Apart, Estate, OnlyOn
from jobs.balancing.ground import gains, lost
from jobs.balancing.planner import plan
from jobs.balancing.policy import Policy
from jobs.balancing.shorten import shortened
from tests.jobs.balancing_estates import GIB, estates

EAGER = Policy(start=0.01, enough=0.0, price_per_move=1e-6, price_per_gib=0.0)


def after(estate: Estate, moves) -> Estate:
    host = estate.host.copy()
    for move in moves:
        host[move.vm] = move.destination
    return replace(estate, host=host)


@settings(max_examples=150, deadline=None)
@given(estates(), st.sampled_from([Policy(), EAGER]))
def test_each_move_has_its_ground_when_its_turn_comes(estate, policy):
    found = plan(estate, policy)
    gained = gains(estate, policy, found.moves)
    for number, (move, gain) in enumerate(zip(found.moves, gained, strict=True)):
        now = after(estate, found.moves[:number])
        assert lost(now, policy, move.vm, move.destination, move.code, planned_gain=gain) is None


@settings(max_examples=150, deadline=None)
@given(estates(), st.integers(0, 6))
def test_a_short_plan_is_the_beginning_of_the_long_one_and_cuts_no_group(estate, most):
    long = plan(estate, EAGER)
    short = shortened(long, estate, EAGER, most)
    assert len(short.moves) <= most or short is long
    assert short.moves == long.moves[: len(short.moves)]
    if short is long:
        return
    rest = {move.vm for move in long.moves[len(short.moves) :]}
    for crew in fellows(estate):
        members = {int(vm) for vm in crew}
        assert not (members & rest and members & {move.vm for move in short.moves})
    assert not short.moves or short.moves[-1].code != "exchange"
    board = Board(after(estate, short.moves), EAGER)
    assert short.after.imbalance == pytest.approx(board.imbalance(), abs=1e-9)


def two_hosts(*cores: float) -> Estate:
    """All VMs on the first of two hosts with 8 cores each."""
    vms = len(cores)
    memory = np.full(vms, GIB)
    return Estate(
        ("CPU",), np.full(2, 32 * GIB), np.full((2, 1), 8.0), np.zeros(vms, dtype=np.int64), memory,
        np.array(cores)[:, None], segment=np.zeros(vms, dtype=np.int64),
    )  # fmt: skip


def test_a_move_loses_its_ground_for_a_reason():
    estate = two_hosts(3.0, 3.0)
    (move,) = plan(estate).moves
    (gain,) = gains(estate, Policy(), [move])

    def why(changed: Estate, code: str = "balance") -> str | None:
        return lost(changed, Policy(), move.vm, move.destination, code, planned_gain=gain)

    assert why(estate) is None
    assert "hardly more even" in (why(two_hosts(0.2, 0.2)) or "")
    assert "takes no VMs" in (why(replace(estate, accepting=np.array([True, False]))) or "")
    assert "not permitted" in (why(replace(estate, rules=(OnlyOn(0, frozenset({0})),))) or "")
    assert "too full" in (why(replace(estate, capacity_mib=np.array([32 * GIB, 512.0]))) or "")
    rival = replace(estate, host=np.array([0, 1] if move.vm == 0 else [1, 0]), rules=(Apart(frozenset({0, 1})),))
    assert "must not be beside" in (why(rival) or "")
    assert "right by now" in (why(estate, "beside_rival") or "")
    assert "right by now" in (why(estate, "not_together") or "")


def test_a_move_that_would_cost_the_spare_host_loses_its_ground():
    memory, capacity = np.array([3.0, 3.0, 6.0]) * GIB, np.array([8.0, 6.0, 6.0]) * GIB
    use = np.array([[3.0], [3.0], [0.1]])
    estate = Estate(("CPU",), capacity, np.full((3, 1), 8.0), np.array([0, 0, 2]), memory, use)
    # The third host's VM can start on the second, which has nothing on it; beside another it could start nowhere.
    assert "more VMs without a place" in (lost(estate, Policy(), 0, 1, "balance", planned_gain=0.0) or "")
    assert lost(estate, Policy(n_plus_one=False), 0, 1, "balance", planned_gain=0.0) is None
