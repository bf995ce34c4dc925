"""What the planner's search rests on: the board's sums, the estimates of moves and exchanges, the aim that is kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.balancing import cheapest
from jobs.balancing.board import LEAST_DEVIATION, Board
from jobs.balancing.cheapest import find_cheapest
from jobs.balancing.descent import descend
from jobs.balancing.exchange import Neighbourhood, improve
from jobs.balancing.policy import Policy
from jobs.balancing.slope import Slope, exact
from tests.jobs.balancing_estates import breaches, estates

FREE = Policy(start=0.01, enough=0.0, price_per_move=1e-6, price_per_gib=1e-7, high=math.inf)
many = estates(rules=False, fitting=True, most_vms=16)


def scattered_board(estate, seed: int, policy: Policy = FREE) -> Board:
    """A board on which some VMs went where they are welcome."""
    board = Board(estate, policy)
    chance = np.random.default_rng(seed)
    for vm in chance.permutation(estate.vms)[: estate.vms // 2]:
        open_to = np.flatnonzero(board.welcome(np.array([vm]))[0])
        if len(open_to):
            board.move(int(vm), int(chance.choice(open_to)))
    return board


def could_stay(board: Board, aim: float) -> list[int]:
    """VMs that are away although the aim is kept without them, as far as the estimate tells."""
    moved = away(board)
    rows, home = np.arange(len(moved)), board.home[moved]
    stays = board.imbalance() + Slope(board).of_moves(moved)[rows, home] <= aim
    return moved[board.welcome(moved)[rows, home] & stays].tolist()


def away(board: Board) -> np.ndarray:
    return np.flatnonzero(board.at != board.home)


@settings(max_examples=200, deadline=None)
@given(estates(), st.integers(0, 99))
def test_the_board_keeps_its_sums_while_vms_move_and_comes_back(estate, seed):
    board = Board(estate, FREE)
    saved = board.save()
    chance = np.random.default_rng(seed)
    for vm in range(estate.vms):
        board.move(vm, int(chance.integers(estate.hosts)))
    fresh = Board(replace(estate, host=board.at.copy()), FREE)
    assert np.allclose(board.left, fresh.left)
    assert np.allclose(board.off, fresh.off)
    assert (board.rivals == fresh.rivals).all()
    board.restore(saved)
    assert (board.at == estate.host).all()
    assert board.imbalance() == Board(estate, FREE).imbalance()


@settings(max_examples=200, deadline=None)
@given(many, st.integers(0, 99))
def test_the_estimate_of_a_move_never_promises_too_much_and_the_exact_figure_is_what_comes_true(estate, seed):
    board = scattered_board(estate, seed)
    vms = np.arange(estate.vms)
    estimate, after, before = Slope(board).of_moves(vms), exact(board, vms), board.imbalance()
    for vm in vms:
        for host in range(estate.hosts):
            source = int(board.at[vm])
            board.move(int(vm), host)
            # The root of what is left when nearly equal sums are subtracted.
            assert abs(board.imbalance() - after[vm, host]) < 1e-7
            # Tangents at a deviation of nothing are steeper than the curve by what LEAST_DEVIATION allows.
            assert board.imbalance() - before <= estimate[vm, host] + 1e-5
            board.move(int(vm), source)


@settings(max_examples=150, deadline=None)
@given(many, st.integers(0, 99))
def test_exchanges_fit_and_their_estimate_is_the_tangent_so_that_they_are_at_least_as_good(estate, seed):
    board = scattered_board(estate, seed)
    vms, some = np.arange(estate.vms), away(board)
    near = Neighbourhood(board, vms, some)
    kinds = [
        (near.replaces() & near.returns(), near.substitution_evenness(), lambda one, other: near.back[one]),
        (near.replaces() & near.enters(), near.swap_evenness(), lambda one, other: board.at[other]),
    ]
    saved, before, squares = board.save(), board.imbalance(), (board.off**2).sum(axis=0)
    steepness = board.weights / (2 * board.hosts * np.maximum(board.deviations(), LEAST_DEVIATION))
    for possible, estimate, goes_to in kinds:
        for one, other in np.argwhere(possible)[:60]:
            host, place = int(goes_to(one, other)), int(near.source[one])
            board.move(int(some[one]), host)
            board.move(int(other), place)
            assert (board.left_mib >= -1e-6).all()
            tangent = float(steepness @ ((board.off**2).sum(axis=0) - squares))
            assert np.isclose(estimate[one, other], tangent, atol=1e-9 * steepness.max() + 1e-9)
            assert board.imbalance() - before <= estimate[one, other] + 1e-5
            board.restore(saved)


@settings(max_examples=150, deadline=None)
@given(many, st.integers(0, 99), st.sampled_from([1.0, 1e3, 1e6]))
def test_improving_lowers_what_it_minimises_and_never_overfills(estate, seed, dearness):
    board = scattered_board(estate, seed)
    before = board.imbalance() + dearness * board.paid()
    made = improve(board, np.arange(estate.vms), away(board), dearness)
    after = board.imbalance() + dearness * board.paid()
    assert after < before if made else after == before
    assert breaches(estate, board.at.tolist())["over"] == {}


@settings(max_examples=150, deadline=None)
@given(many)
def test_the_search_reaches_the_aim_for_no_more_than_descent_pays(estate):
    descended, found = Board(estate, FREE), Board(estate, FREE)
    vms = np.arange(estate.vms)
    descend(descended, vms)
    find_cheapest(found, vms)
    start = Board(estate, FREE).imbalance()
    if found.imbalance() <= descended.imbalance() + 1e-8:
        assert found.paid() <= descended.paid() + 1e-9
        assert could_stay(found, descended.imbalance()) == []
    else:  # the aim was not worth its price
        assert found.imbalance() + found.paid() <= max(start, descended.imbalance() + descended.paid()) + 1e-9
    assert breaches(estate, found.at.tolist())["over"] == {}


@pytest.mark.parametrize("seed", range(5))
def test_a_crowd_is_searched_in_parts_to_the_same_end(monkeypatch, seed):
    chance = np.random.default_rng(seed)
    estate = _crowd(chance)
    whole, parts = Board(estate, FREE), Board(estate, FREE)
    find_cheapest(whole, np.arange(estate.vms))
    monkeypatch.setattr(cheapest, "CROWD", 20)
    monkeypatch.setattr(cheapest, "WIDTH", 5)
    find_cheapest(parts, np.arange(estate.vms))
    reached = Board(estate, FREE)
    descend(reached, np.arange(estate.vms))
    for board in (whole, parts):
        assert board.imbalance() <= reached.imbalance() + 1e-8
        assert board.paid() < reached.paid()
        assert could_stay(board, reached.imbalance()) == []


def _crowd(chance: np.random.Generator):
    from jobs.balancing.estate import Estate

    memory = chance.choice([1024.0, 2048, 4096], 100)
    place = chance.choice(8, 100, p=chance.dirichlet(np.full(8, 2.0)))
    capacity = np.tile([20.0, 100 * 1024.0], (8, 1))
    loads = np.stack([chance.random(100), memory], axis=1)
    return Estate(("CPU", "memory"), np.full(8, 400 * 1024.0), capacity, place, memory, loads)


def test_what_is_left_under_the_aim_is_spent_on_moving_less(monkeypatch):
    def paid() -> float:
        boards = [Board(_crowd(np.random.default_rng(seed)), FREE) for seed in range(12)]
        for board in boards:
            find_cheapest(board, np.arange(100))
        return sum(board.paid() for board in boards)

    spent = paid()
    monkeypatch.setattr(cheapest, "spend_slack", lambda board, vms, aim: None)
    assert spent < paid()
