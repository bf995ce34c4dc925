"""Putting right what breaks a rule or overfills a host, before anything is balanced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jobs.balancing import breaches
from jobs.balancing.board import TINY, Board
from jobs.balancing.course import Course
from jobs.balancing.estate import Floats, Ints
from jobs.balancing.slope import Slope

#: So many moves may be refused for the headroom in one round before what is still broken is left.
REFUSALS = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of breach: whom to move, the most pressing first, and whether a VM still has to."""

    code: str
    find: Callable[[Board], Ints]
    broken: Callable[[Board, int], bool]


KINDS = (
    Kind("not_permitted", breaches.not_permitted, lambda board, vm: not board.may_be[vm, board.at[vm]]),
    Kind("beside_rival", breaches.beside_rival, lambda board, vm: bool(board.rivals[vm, board.at[vm]] > 0)),
    Kind("host_overfull", breaches.on_overfull, lambda board, vm: bool(board.left_mib[board.at[vm]] < -TINY)),
)


def repair(course: Course, crews: list[Ints]) -> None:
    """Make the moves that put breaches right, as far as single VMs, and groups that belong together, can.

    First by moves that leave the destination under the policy's `high`, then by those that do not.
    """
    crew_of = {int(vm): crew for crew in crews for vm in crew}
    for cool in (True, False):
        for kind in KINDS:
            while _sweep(course, crew_of, kind, cool=cool):
                pass
        for crew in breaches.scattered(course.board, crews):
            _gather(course, crew, cool=cool)


def _sweep(course: Course, crew_of: dict[int, Ints], kind: Kind, *, cool: bool) -> int:
    """Try to move each VM that a breach is about, once; how many breaches that put right."""
    done = 0
    for vm in map(int, kind.find(course.board)):
        if course.refused > REFUSALS:
            return 0
        if kind.broken(course.board, vm):
            crew = crew_of.get(vm)
            if crew is None:
                done += _move_one(course, kind.code, vm, cool=cool)
            else:
                done += _move_crew(course, kind.code, crew, vm, cool=cool)
    return done


def _dearness(board: Board, vms: Ints) -> Floats:
    """By how much imbalance and price grow when each VM goes to each host, shape (len(vms), H)."""
    result: Floats = Slope(board).of_moves(vms) + board.price[vms, None]
    return result


def _move_one(course: Course, code: str, vm: int, *, cool: bool) -> bool:
    """Move a VM where that is cheapest; whether it moved."""
    if not course.free[vm]:
        return False
    board, alone = course.board, np.array([vm])
    value = np.where(board.welcome(alone, cool=cool), _dearness(board, alone), np.inf)[0]
    hosts = np.argsort(value, kind="stable")[: np.count_nonzero(np.isfinite(value))]
    return any(course.make(vm, int(host), code) for host in hosts if course.refused <= REFUSALS)


def _move_crew(course: Course, code: str, crew: Ints, vm: int, *, cool: bool) -> bool:
    """Bring a whole group to another host than `vm`'s, where that is cheapest; whether it moved."""
    board = course.board
    value = _dearness(board, crew).sum(axis=0)
    hosts = [int(host) for host in np.argsort(value, kind="stable") if host != board.at[vm]]
    return any(_carry(course, code, crew, host, cool=cool) for host in hosts if course.refused <= REFUSALS)


def _gather(course: Course, crew: Ints, *, cool: bool) -> None:
    """Bring a scattered group together, where most of its memory is already if that can be."""
    board = course.board
    there = np.bincount(board.at[crew], weights=board.memory[crew], minlength=board.hosts)
    for host in np.lexsort((_dearness(board, crew).sum(axis=0), -there)):
        if course.refused > REFUSALS or _carry(course, "not_together", crew, int(host), cool=cool):
            return


def _carry(course: Course, code: str, crew: Ints, host: int, *, cool: bool) -> bool:
    """Bring all of a group to a host, one after the other, or none of them."""
    board = course.board
    before = len(course.moves)
    for vm in crew[board.at[crew] != host]:
        fits = course.free[vm] and board.welcome(np.array([vm]), cool=cool)[0, host]
        if not (fits and course.make(int(vm), host, code)):
            course.undo(before)
            return False
    return len(course.moves) > before
