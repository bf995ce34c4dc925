"""Whether a move that was planned is still right, in the cluster as it is by now."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from jobs.balancing import breaches
from jobs.balancing.answer import Move
from jobs.balancing.binding import fellows
from jobs.balancing.board import TINY, Board
from jobs.balancing.estate import Estate
from jobs.balancing.headroom import Headroom
from jobs.balancing.planner import able
from jobs.balancing.policy import Policy
from jobs.balancing.repair import KINDS
from jobs.balancing.slope import exact

#: Put a breach right, by the code of the move.
_REPAIRS = {kind.code: kind for kind in KINDS}


def lost(estate: Estate, policy: Policy, vm: int, host: int, code: str, *, planned_gain: float) -> str | None:
    """Why a VM is not to go to that host any more, in a sentence; None when it still is.

    `code` is that of the planned move, `planned_gain` what it was to lower the imbalance by: it has to gain half of
    that still. A move that puts a breach right may fill its destination beyond the policy's `high`; one that was to
    make a later one possible need not gain anything by itself.
    """
    board = Board(able(estate), policy)
    repairs = code in _REPAIRS or code == "not_together"
    if not board.may_enter[vm, host]:
        return "The destination takes no VMs any more, or is not permitted to it."
    if board.rivals[vm, host]:
        return "A VM that it must not be beside is there by now."
    if not board.welcome(np.array([vm]), cool=not repairs)[0, host]:
        return "The destination is too full for it by now."
    if repairs and not _is_broken(board, vm, code):
        return "What it was to put right is right by now."
    gain = board.imbalance() - float(exact(board, np.array([vm]))[0, host])
    if code == "balance" and gain < max(planned_gain / 2, TINY):
        return "It would make the cluster hardly more even any more."
    return _farther_from_n_plus_one(board, vm, host)


def gains(estate: Estate, policy: Policy, moves: Sequence[Move]) -> list[float]:
    """By how much each of these moves, one after the other, lowers the imbalance; below zero where it raises it."""
    board = Board(estate, policy)
    course = [board.imbalance()]
    for move in moves:
        board.move(move.vm, move.destination)
        course.append(board.imbalance())
    return [before - after for before, after in pairwise(course)]


def _is_broken(board: Board, vm: int, code: str) -> bool:
    if code in _REPAIRS:
        return _REPAIRS[code].broken(board, vm) or any(vm in crew for crew in fellows(board.estate))
    return any(vm in crew for crew in breaches.scattered(board, fellows(board.estate)))


def _farther_from_n_plus_one(board: Board, vm: int, host: int) -> str | None:
    if not board.policy.n_plus_one:
        return None
    headroom = Headroom(board)
    before = headroom.stranded_mib()
    board.move(vm, host)
    if headroom.stranded_mib() > before + TINY:
        return "With it, the failure of one host would leave more VMs without a place than without it."
    return None
