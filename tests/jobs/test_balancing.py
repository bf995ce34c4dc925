"""The planner of balancing, attacked with clusters at random: no state between the moves breaks anything more."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.balancing.binding import fellows
from jobs.balancing.board import Board
from jobs.balancing.estate import Apart, Estate, NeverBeside, OnlyOn, Together
from jobs.balancing.headroom import Headroom
from jobs.balancing.planner import plan
from jobs.balancing.policy import Policy
from tests.jobs.balancing_estates import GIB, breaches, estates, stranded, survives

#: Begins at once, and takes every move that gains anything: the most moves that can go wrong.
EAGER = Policy(start=0.01, enough=0.0, price_per_move=1e-6, price_per_gib=0.0)
policies = st.sampled_from(
    [
        Policy(),
        EAGER,
        replace(EAGER, high=float("inf")),
        replace(EAGER, n_plus_one=False),
        replace(EAGER, n_plus_one=False, high=float("inf")),
    ]
)


def states(estate: Estate, moves) -> list[list[int]]:
    """The placement before the first move, and after each."""
    found = [[int(host) for host in estate.host]]
    for move in moves:
        assert found[-1][move.vm] == move.source != move.destination
        found.append([move.destination if vm == move.vm else host for vm, host in enumerate(found[-1])])
    return found


@settings(max_examples=400, deadline=None)
@given(estates(), policies)
def test_no_state_between_breaks_what_the_one_before_did_not(estate, policy):
    made = plan(estate, policy).moves
    placements = states(estate, made)
    for before, after in pairwise(placements):
        old, new = breaches(estate, before), breaches(estate, after)
        assert new["not_permitted"] <= old["not_permitted"]
        assert new["beside"] <= old["beside"]
        assert all(over <= old["over"].get(host, 0) + 1e-6 for host, over in new["over"].items())


@settings(max_examples=400, deadline=None)
@given(estates(), policies)
def test_no_move_takes_the_cluster_farther_from_n_plus_one(estate, policy):
    made = plan(estate, policy).moves
    lost = [stranded(estate, place) for place in states(estate, made)]
    if policy.n_plus_one:
        assert all(after <= before + 1e-6 for before, after in pairwise(lost))


@settings(max_examples=300, deadline=None)
@given(estates(most_vms=7))
def test_headroom_is_what_it_is_by_hand_and_none_stranded_means_that_there_is_a_way(estate):
    place = [int(host) for host in estate.host]
    estate = replace(estate, barred=None)
    lost = Headroom(Board(estate, Policy())).stranded_mib()
    by_hand = stranded(estate, place)
    # The shortcut for hosts that are surely safe may find a way that the placement by hand does not.
    assert lost <= by_hand + 1e-6
    if lost == 0 and estate.hosts > 1:
        assert all(survives(estate, place, host) for host in range(estate.hosts))


@settings(max_examples=300, deadline=None)
@given(estates(), policies)
def test_nobody_moves_twice_or_when_it_should_stay(estate, policy):
    moved = [move.vm for move in plan(estate, policy).moves]
    assert len(moved) == len(set(moved))
    for vm in moved:
        assert estate.movable is None or estate.movable[vm]
        assert estate.moved_ago_s is None or estate.moved_ago_s[vm] >= policy.cool_down_s
        assert estate.dirty_mib_s is None or estate.dirty_mib_s[vm] < 0.8 * policy.bandwidth_mib_s


@settings(max_examples=300, deadline=None)
@given(estates(), policies)
def test_its_own_result_gives_it_nothing_to_do(estate, policy):
    first = plan(estate, policy)
    ago = np.full(estate.vms, np.inf) if estate.moved_ago_s is None else estate.moved_ago_s.copy()
    for move in first.moves:
        ago[move.vm] = 0.0
    host = np.array(states(estate, first.moves)[-1], dtype=np.int64)
    barred = None if estate.barred is None else estate.barred.copy()
    if barred is not None:
        barred[np.arange(estate.vms), estate.host] = False  # it ran there
    past = None if first.moves else estate.past  # it was that of another placement
    again = plan(replace(estate, host=host, moved_ago_s=ago, barred=barred, past=past), policy)
    assert again.moves == ()


@settings(max_examples=200, deadline=None)
@given(estates(), policies)
def test_the_same_input_gives_the_same_plan_and_is_left_as_it_was(estate, policy):
    host, loads = estate.host.copy(), estate.loads.copy()
    assert plan(estate, policy) == plan(estate, policy)
    assert (estate.host == host).all()
    assert (estate.loads == loads).all()


@settings(max_examples=300, deadline=None)
@given(estates(fitting=True), policies)
def test_what_still_breaks_a_rule_is_said(estate, policy):
    result = plan(estate, policy)
    left = breaches(estate, states(estate, result.moves)[-1])
    named = {vm for one in result.unmet for vm in one.vms}
    assert left["not_permitted"] <= named
    assert all(a in named and b in named for a, b in left["beside"])
    assert bool(left["over"]) <= any(one.code in ("host_overfull", "cluster_overfull") for one in result.unmet)
    assert all(one.reason for one in result.unmet)


@settings(max_examples=300, deadline=None)
@given(estates(rules=False, fitting=True), policies)
def test_a_plan_for_balance_is_worth_its_price(estate, policy):
    result = plan(estate, policy)
    prices = [(policy.price_per_move + policy.price_per_gib * move.sent_gib) / estate.hosts for move in result.moves]
    assert result.after.imbalance + sum(prices) <= result.before.imbalance + 1e-9
    assert all(move.code in ("balance", "exchange") for move in result.moves)


@settings(max_examples=200, deadline=None)
@given(estates())
def test_what_belongs_together_is_never_farther_apart_at_the_end(estate):
    place = states(estate, plan(estate, EAGER).moves)[-1]
    for crew in fellows(estate):
        spread = len({place[vm] for vm in crew})
        assert spread <= len(set(estate.host[crew].tolist()))


def even(hosts: int = 4, each: int = 4, **extras) -> Estate:
    """Hosts of 64 GiB and 16 cores, each with as many VMs of 8 GiB and 2 busy cores."""
    vms = hosts * each
    place = np.repeat(np.arange(hosts), each)
    loads = np.stack([np.full(vms, 2.0), np.full(vms, 4 * GIB)], axis=1)
    capacity = np.tile([16.0, 64 * GIB], (hosts, 1))
    return Estate(
        ("CPU", "memory"), np.full(hosts, 64 * GIB), capacity, place, np.full(vms, 8 * GIB), loads, **extras
    )  # fmt: skip


def skewed(**extras) -> Estate:
    """The same, with all the VMs of the last host on the first: 8 VMs, which use its CPU and memory up."""
    estate = even(**extras)
    return replace(estate, host=np.where(estate.host == 3, 0, estate.host))


def test_a_balanced_cluster_is_left_alone():
    result = plan(even(), EAGER)
    assert result.moves == ()
    assert "even enough" in result.verdict


def test_a_skewed_cluster_is_made_even_with_as_few_moves_as_that_takes():
    result = plan(skewed())
    assert len(result.moves) == 4
    assert {(move.source, move.destination, move.code) for move in result.moves} == {(0, 3, "balance")}
    assert result.after.imbalance == pytest.approx(0)
    assert "CPU: 100% to 88% where it was, 0% to 12% where it goes" in result.moves[0].reason
    assert result.moves[0].seconds == pytest.approx(8.192)


def test_a_strain_that_has_just_begun_is_waited_out():
    calm = np.full((1, 4, 2), 0.5)
    result = plan(skewed(past=calm))
    assert result.moves == ()
    assert "waiting" in result.verdict
    strained = skewed().utilisation[None]
    assert len(plan(skewed(past=strained)).moves) == 4
    # Only the windows that the policy asks for decide.
    assert len(plan(skewed(past=np.concatenate([calm, strained]))).moves) == 4


def test_all_hosts_full_is_no_reason_to_move():
    crowded = even(each=7)
    assert crowded.utilisation.max() > Policy().high
    assert plan(crowded).moves == ()


def test_moves_that_cost_more_than_they_bring_are_not_made():
    result = plan(skewed(), Policy(price_per_move=10.0))
    assert result.moves == ()
    assert "worth their price" in result.verdict


def test_of_two_alike_the_vm_that_sends_less_moves():
    estate = skewed(dirty_mib_s=np.array([700.0, 700, 700, 700, *[0.0] * 8, 0, 0, 0, 0]))
    moved = {move.vm for move in plan(estate).moves}
    assert moved == {12, 13, 14, 15}
    slower = plan(skewed(dirty_mib_s=np.full(16, 500.0))).moves[0]
    assert slower.sent_gib == pytest.approx(16.0)


def test_a_segment_goes_to_the_hosts_that_it_is_permitted_on():
    rule = OnlyOn(7, frozenset({1, 2}))
    segment = np.where(np.arange(16) == 0, 7, -1)
    (move,) = plan(even(segment=segment, rules=(rule,))).moves
    assert (move.vm, move.code) == (0, "not_permitted")
    assert move.destination in (1, 2)


def test_what_must_be_apart_is_parted_and_what_belongs_together_is_gathered():
    (move,) = plan(even(rules=(Apart(frozenset({0, 1})),))).moves
    assert (move.vm in (0, 1), move.code) == (True, "beside_rival")
    moves = plan(even(rules=(Together(frozenset({0, 1, 4})),))).moves
    assert [(move.vm, move.destination, move.code) for move in moves] == [(4, 0, "not_together")]


def test_a_whole_group_leaves_a_host_that_is_not_permitted_to_one_of_it():
    segment = np.where(np.arange(16) == 0, 7, -1)
    rules = (OnlyOn(7, frozenset({2})), Together(frozenset({0, 1})))
    moves = plan(even(segment=segment, rules=rules)).moves
    assert [(move.vm, move.destination) for move in moves[:2]] == [(0, 2), (1, 2)]


def test_an_overfull_host_loses_one_vm_that_is_enough():
    estate = replace(even(), capacity_mib=np.array([24 * GIB, 64 * GIB, 64 * GIB, 64 * GIB]))
    result = plan(estate)
    assert [(move.source, move.code) for move in result.moves] == [(0, "host_overfull")]
    assert result.unmet == ()


def test_what_no_placement_can_keep_is_said_with_its_reason():
    def said(estate: Estate, policy: Policy | None = None) -> list[tuple[str, bool]]:
        return [(one.code, one.impossible) for one in plan(estate, policy).unmet]

    segment = np.where(np.arange(16) < 2, 7, -1)
    assert said(even(segment=segment, rules=(OnlyOn(7, frozenset()),))) == [("no_host_permitted", True)] * 2
    assert said(even(rules=(Apart(frozenset(range(5))),))) == [("apart_too_many", True)]
    both = (Apart(frozenset({0, 1})), Together(frozenset({0, 1})))
    assert said(even(rules=both)) == [("together_contradiction", True)]
    assert said(even(rules=(Together(frozenset(range(9))),))) == [("together_contradiction", True)]
    one_host = (OnlyOn(1, frozenset({0})), OnlyOn(2, frozenset({0})), NeverBeside(1, 2))
    two = np.where(np.arange(16) < 2, np.arange(16) % 2 + 1, -1)
    assert said(even(segment=two, rules=one_host)) == [("apart_too_many", True)]
    assert said(even(each=7)) == [("headroom", True)]
    assert said(even(each=7), Policy(n_plus_one=False)) == []
    assert said(even(each=9)) == [("cluster_overfull", True)] + [("host_overfull", False)] * 4
    large = replace(even(), memory_mib=np.where(np.arange(16) == 0, 80 * GIB, GIB))
    assert ("too_large", True) in said(large)


def test_no_way_found_is_not_called_impossible():
    # Every VM moved just now: the rule can be kept, but not today.
    estate = even(rules=(Apart(frozenset({0, 1})),), moved_ago_s=np.zeros(16))
    unmet = plan(estate).unmet
    assert [(one.code, one.impossible, one.vms) for one in unmet] == [
        ("beside_rival", False, (0,)),
        ("beside_rival", False, (1,)),
    ]
    assert "moved just now" in unmet[0].reason


def test_vms_change_places_by_way_of_what_is_free_but_not_where_nothing_is():
    # Two hosts, both full; the busy pair is on one of them. Nothing can move first.
    loads = np.array([[8.0, 0.0], [7.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    full = Estate(
        ("CPU", "memory"), np.full(2, 16 * GIB), np.tile([16.0, 16 * GIB], (2, 1)), np.array([0, 0, 1, 1]),
        np.full(4, 8 * GIB), loads,
    )  # fmt: skip
    freely = replace(EAGER, n_plus_one=False, high=float("inf"))
    assert plan(full, freely).moves == ()
    roomy = replace(full, capacity_mib=np.array([16 * GIB, 24 * GIB]))
    moves = plan(roomy, freely).moves
    assert moves[0].vm in (0, 1)
    assert plan(roomy, freely).after.imbalance < plan(roomy, freely).before.imbalance


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loads": np.full((16, 2), np.nan)}, "not a number"),
        ({"memory_mib": np.full(16, -1.0)}, "negative"),
        ({"memory_mib": np.full(3, 1.0)}, "shape"),
        ({"host": np.full(16, 4)}, "host that there is not"),
        ({"capacity_mib": np.zeros(4)}, "positive"),
        ({"capacity": np.full((4, 2), np.inf)}, "positive"),
        ({"dirty_mib_s": np.full(16, np.inf)}, "infinite"),
        ({"past": np.zeros((1, 3, 2))}, "past"),
        ({"rules": (Apart(frozenset({16})),)}, "VM that there is not"),
        ({"rules": (OnlyOn(1, frozenset({9})),)}, "host that there is not"),
        ({"rules": (NeverBeside(1, 2),)}, "segments"),
        ({"segment": np.zeros(16, dtype=np.int64), "rules": (NeverBeside(1, 1),)}, "itself"),
    ],
)
def test_an_estate_that_makes_no_sense_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        plan(replace(even(), **change))


@pytest.mark.parametrize("knobs", [{"weights": (1.0,)}, {"bandwidth_mib_s": 0.0}, {"start": -1.0}, {"windows": 0}])
def test_a_policy_that_makes_no_sense_is_refused(knobs):
    with pytest.raises(ValueError, match=r"weights|positive|negative"):
        plan(even(), Policy(**knobs))
