"""The planner: what is broken is put right first, then a strained cluster is made even, as cheaply as is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jobs.balancing import breaches
from jobs.balancing.answer import Move, Plan, Standing, Unmet
from jobs.balancing.binding import fellows
from jobs.balancing.board import TINY, Board
from jobs.balancing.cheapest import find_cheapest
from jobs.balancing.cost import MOST_DIRTY, dirty_share
from jobs.balancing.course import Course
from jobs.balancing.estate import Bools, Estate, Ints
from jobs.balancing.headroom import Headroom
from jobs.balancing.infeasible import impossible
from jobs.balancing.load import over_mean, strain, strained
from jobs.balancing.order import carry_out
from jobs.balancing.policy import Policy
from jobs.balancing.repair import repair


def plan(estate: Estate, policy: Policy | None = None) -> Plan:
    """Plan the moves for a cluster. The same input gives the same plan.

    It plans in rounds, until a round brings no move: each puts right what breaks a rule, and makes the cluster
    more even if it is strained. The past windows count until the first move; then they are of another placement.
    No VM moves twice. Raises ValueError for an estate or a policy that make no sense.
    """
    policy = policy or Policy()
    estate.check()
    policy.check(len(estate.resources))
    estate = able(estate)
    now = estate
    moves: list[Move] = []
    while made := _round(now, policy):
        moves += made
        now = moved(now, made)
    before, after = standing(Board(estate, policy)), standing(Board(now, policy))
    unmet = _unmet(estate, now, policy, after)
    return Plan(tuple(moves), tuple(unmet), before, after, _verdict(estate, now, policy, moves))


def free_vms(estate: Estate, policy: Policy) -> Bools:
    """Which VMs may move: those that can, that did not move just now, and whose migration would end, shape (V,)."""
    free = np.ones(estate.vms, dtype=bool)
    if estate.movable is not None:
        free &= estate.movable
    if estate.moved_ago_s is not None:
        free &= estate.moved_ago_s >= policy.cool_down_s
    return free & (dirty_share(estate, policy) < MOST_DIRTY)


def _round(estate: Estate, policy: Policy) -> list[Move]:
    """One round from the estate's placement."""
    board = Board(estate, policy)
    crews = fellows(estate)
    course = Course(board, free_vms(estate, policy))
    repair(course, crews)
    if strain(board.utilisation, policy) and (course.moves or strained(estate, policy)):
        _balance(course, crews)
    return course.moves


def _balance(course: Course, crews: list[Ints]) -> None:
    """Find a better placement of the VMs that are free and belong to no group, and go there."""
    board = course.board
    free = course.free.copy()
    for crew in crews:
        free[crew] = False
    start, repaired = board.save(), len(course.moves)
    imbalance = board.imbalance()
    find_cheapest(board, np.flatnonzero(free))
    moved = np.flatnonzero(board.at != start.at)
    wanted = {int(vm): int(board.at[vm]) for vm in moved}
    board.restore(start)
    carry_out(course, wanted)
    paid = sum(float(board.price[move.vm]) for move in course.moves[repaired:])
    if board.imbalance() + paid > imbalance - TINY:
        course.undo(repaired)


def able(estate: Estate) -> Estate:
    """The estate in which no VM is barred from the host that it runs on, since it runs there."""
    if estate.barred is None:
        return estate
    barred = estate.barred.copy()
    barred[np.arange(estate.vms), estate.host] = False
    return replace(estate, barred=barred)


def moved(estate: Estate, made: list[Move]) -> Estate:
    """The estate after these moves, whose VMs do not move again. Its past was that of another placement."""
    host = estate.host.copy()
    movable = np.ones(estate.vms, dtype=bool) if estate.movable is None else estate.movable.copy()
    for move in made:
        host[move.vm] = move.destination
        movable[move.vm] = False
    return replace(estate, host=host, movable=movable, past=None)


def standing(board: Board) -> Standing:
    """How the board's placement stands."""
    utilisation = board.utilisation
    return Standing(
        imbalance=board.imbalance(),
        over_mean=tuple(over_mean(utilisation).tolist()),
        fullest=tuple(utilisation.max(axis=0).tolist()),
        stranded_mib=Headroom(board).stranded_mib(),
    )


def _unmet(estate: Estate, now: Estate, policy: Policy, after: Standing) -> list[Unmet]:
    """What the plan leaves broken: what is impossible, and what no way was found for."""
    found = impossible(Board(estate, policy))
    proved = {vm for one in found for vm in one.vms}
    crews = fellows(estate)
    found += [
        one
        for one in breaches.remaining(Board(now, policy), crews, free_vms(now, policy))
        if not one.vms or not proved.issuperset(one.vms)
    ]
    lacks = policy.n_plus_one and after.stranded_mib > TINY
    if lacks and not any(one.code in ("headroom", "cluster_overfull") for one in found):
        why = f"If one host failed, VMs with {after.stranded_mib / 1024:.1f} GiB would find no place."
        found.append(Unmet("headroom", why, impossible=False))
    return found


def _verdict(estate: Estate, now: Estate, policy: Policy, moves: list[Move]) -> str:
    """Why there are these moves, or none."""
    utilisation = estate.utilisation
    spread = over_mean(utilisation)
    resource = int(spread.argmax())
    fact = f"The fullest host is {spread[resource]:.0%} over the mean of {estate.resources[resource]}"
    balancing = any(move.code in ("balance", "exchange") for move in moves)
    if strain(utilisation, policy) is None and not balancing:
        repairs = f"{len(moves)} moves put right what breaks a rule. " if moves else ""
        return f"{repairs}{fact}: even enough to leave as it is."
    if not moves and not strained(estate, policy):
        return f"{fact}, but was not so in the windows before: waiting."
    if not balancing:
        return f"{fact}, and no moves were found that are worth their price within the rules."
    left = over_mean(now.utilisation)[resource]
    rest = "" if strain(now.utilisation, policy) is None else " More was not worth its price, or not possible."
    return f"{fact}; after {len(moves)} moves {left:.0%}.{rest}"
