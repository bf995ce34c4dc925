"""The cheapest set of moves that makes a cluster as even as it is aimed to be."""

from __future__ import annotations

import numpy as np

from jobs.balancing.board import Board, Saved
from jobs.balancing.descent import descend
from jobs.balancing.estate import Ints
from jobs.balancing.exchange import LEAST, Neighbourhood, improve

#: So many VMs that are away are looked at together, with so many that may move: the pairs then fit in the cache.
WIDTH = 64
CROWD = 1000
#: How often the prices are weighed anew, and by what factor while it is not known on which side the right one is.
WEIGHINGS = 6
FACTOR = 1.4
#: The last moves of a descent are worth about a third of what its moves are worth on average.
MARGINAL = 0.3


def find_cheapest(board: Board, vms: Ints) -> None:
    """Place `vms` so that the imbalance is at most the aim, for the least price that is found.

    The aim is what steepest descent reaches, or the policy's `enough` if that is more. From there, the sum of imbalance
    and price is lowered, with prices held as many times as dear as still reaches the aim (a Lagrange multiplier, found
    by halving). It is never less than one, so that each move is worth its price, whether the aim is reached or not.
    """
    before, owed = board.imbalance(), board.paid()
    descend(board, vms)
    aim = max(board.imbalance() + 1e-9, board.policy.enough * float(board.weights.sum()))
    if not len(_away(board, vms)):
        return
    dearness = max(1.0, MARGINAL * (before - aim) / (board.paid() - owed))
    best: tuple[float, Saved] = board.paid(), board.save()
    too_cheap, too_dear = 0.0, np.inf
    for _ in range(WEIGHINGS):
        settle(board, vms, dearness)
        if board.imbalance() <= aim:
            too_cheap = dearness
            if board.paid() < best[0]:
                best = board.paid(), board.save()
        else:
            too_dear = dearness
        if too_dear <= 1.0:
            return
        if too_cheap and too_dear < np.inf:
            dearness = (too_cheap + too_dear) / 2
        else:
            dearness = dearness * FACTOR if too_cheap else max(1.0, dearness / FACTOR)
    board.restore(best[1])
    spend_slack(board, vms, aim)


def settle(board: Board, vms: Ints, dearness: float) -> None:
    """Exchange until nothing lowers imbalance + `dearness` * price any more, a part of the pairs at a time."""
    turn = idle = 0
    total = board.imbalance() + dearness * board.paid()
    while True:
        away = _away(board, vms)
        widths, crowds = _parts(len(away), WIDTH), _parts(len(vms), CROWD)
        some = away[turn % widths :: widths]
        improve(board, _crowd(vms, some, turn // widths), some, dearness)
        before, total = total, board.imbalance() + dearness * board.paid()
        # Not whether anything was exchanged: near a deviation of nothing the estimate errs, and could go in circles.
        idle = 0 if total < before - LEAST else idle + 1
        if idle >= widths * crowds:
            return
        turn += 1 if idle else 0


def spend_slack(board: Board, vms: Ints, aim: float) -> None:
    """While the imbalance is below the aim, take back what saves the most: VMs go home, alone or for a cheaper one."""
    turn = idle = 0
    while len(away := _away(board, vms)) and idle < _parts(len(vms), CROWD):
        some = np.sort(away[np.argsort(board.price[away], kind="stable")[-WIDTH:]])
        idle = 0 if _take_back(board, _crowd(vms, some, turn), some, aim - board.imbalance()) else idle + 1
        turn += 1


def _take_back(board: Board, vms: Ints, some: Ints, slack: float) -> bool:
    """Send one of `some` home, with one of `vms` in its place or none, that costs at most `slack` of evenness."""
    near = Neighbourhood(board, vms, some)
    saved = np.where(near.replaces() & near.returns(), near.substitution(near.prices), np.inf)
    saved[near.substitution_evenness() > slack] = np.inf
    alone = near.prices[near.rows, near.back]
    alone[(near.evenness[near.rows, near.back] > slack) | ~near.single()[near.rows, near.back]] = np.inf
    if min(saved.min(), alone.min()) >= -LEAST:
        return False
    if alone.min() <= saved.min():
        one = int(alone.argmin())
        board.move(int(some[one]), int(near.back[one]))
        return True
    one, other = divmod(int(saved.argmin()), len(vms))
    first, second = (int(some[one]), int(near.back[one])), (int(vms[other]), int(near.source[one]))
    board.move(*first)
    board.move(*second)
    return True


def _away(board: Board, vms: Ints) -> Ints:
    """Those of `vms` that are not where they were."""
    return vms[board.at[vms] != board.home[vms]]


def _parts(count: int, size: int) -> int:
    """How many parts of at most `size` that is."""
    return max(1, -(-count // size))


def _crowd(vms: Ints, some: Ints, turn: int) -> Ints:
    """The part of the VMs that is looked at in a turn: every n-th, and `some`."""
    parts = _parts(len(vms), CROWD)
    return vms if parts == 1 else np.union1d(vms[turn % parts :: parts], some)
