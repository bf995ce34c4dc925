"""Putting right what breaks a rule or overfills a host, before anything is balanced."""

from __future__ import annotations

import numpy as np

from jobs.balancing import breaches
from jobs.balancing.board import TINY, Board
from jobs.balancing.course import Course
from jobs.balancing.estate import Floats, Ints
from jobs.balancing.slope import Slope

#: So many destinations are tried, from the best on, before a breach is left.
TRIES = 200


def repair(course: Course, crews: list[Ints]) -> None:
    """Make the moves that put breaches right, as far as single VMs, and groups that belong together, can."""
    board = course.board
    crew_of = {int(vm): crew for crew in crews for vm in crew}
    while _relieve(course, crew_of, "not_permitted", [breaches.not_permitted(board)]):
        pass
    while _relieve(course, crew_of, "beside_rival", [np.array([vm]) for vm in breaches.beside_rival(board)]):
        pass
    while any(_relieve(course, crew_of, "host_overfull", _to_leave(board, host)) for host in breaches.overfull(board)):
        pass
    for crew in breaches.scattered(board, crews):
        _gather(course, crew)


def _to_leave(board: Board, host: int) -> list[Ints]:
    """Whom an overfull host should lose: best one whose leaving is enough, else any."""
    on_it = np.flatnonzero(board.at == host)
    enough = board.memory[on_it] + TINY >= -board.left_mib[host]
    return [on_it[enough], on_it[~enough]]


def _relieve(course: Course, crew_of: dict[int, Ints], code: str, tiers: list[Ints]) -> bool:
    """Move one VM of the first tier in which that is possible, where it is cheapest; whether one moved."""
    for cool in (True, False):
        for tier in tiers:
            alone = np.array([vm for vm in tier if course.free[vm] and int(vm) not in crew_of], dtype=np.int64)
            if len(alone) and _move_one(course, code, alone, cool=cool):
                return True
            for vm in tier:
                if int(vm) in crew_of and _move_crew(course, code, crew_of[int(vm)], int(vm), cool=cool):
                    return True
    return False


def _dearness(board: Board, vms: Ints) -> Floats:
    """By how much imbalance and price grow when each VM goes to each host, shape (len(vms), H)."""
    result: Floats = Slope(board).of_moves(vms) + board.price[vms, None]
    return result


def _move_one(course: Course, code: str, vms: Ints, *, cool: bool) -> bool:
    board = course.board
    value = np.where(board.welcome(vms, cool=cool), _dearness(board, vms), np.inf)
    for place in np.argsort(value, axis=None, kind="stable")[:TRIES]:
        row, host = divmod(int(place), board.hosts)
        if not np.isfinite(value[row, host]):
            return False
        if course.make(int(vms[row]), host, code):
            return True
    return False


def _move_crew(course: Course, code: str, crew: Ints, vm: int, *, cool: bool) -> bool:
    """Bring a whole group to another host than `vm`'s, where that is cheapest."""
    board = course.board
    value = _dearness(board, crew).sum(axis=0)
    value[board.at[vm]] = np.inf
    return any(_carry(course, code, crew, int(host), cool=cool) for host in np.argsort(value, kind="stable")[:TRIES])


def _gather(course: Course, crew: Ints) -> bool:
    """Bring a scattered group together, where most of its memory is already if that can be."""
    board = course.board
    there = np.bincount(board.at[crew], weights=board.memory[crew], minlength=board.hosts)
    order = np.lexsort((_dearness(board, crew).sum(axis=0), -there))[:TRIES]
    return any(_carry(course, "not_together", crew, int(host), cool=cool) for cool in (True, False) for host in order)


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
