"""From a better placement to moves in an order in which each state between keeps the rules."""

from __future__ import annotations

import numpy as np

from jobs.balancing.course import Course
from jobs.balancing.slope import Slope


def carry_out(course: Course, wanted: dict[int, int]) -> None:
    """Make the moves of `wanted` (VM to host) that can be made, those first that gain most at that moment.

    A move waits until its destination has room and is free of rivals, which other moves may bring about. What waits to
    the end is left out: two VMs that can only change places, each on a full host, would need a third place.
    """
    board = course.board
    waiting = np.array(sorted(wanted), dtype=np.int64)
    hosts = np.array([wanted[int(vm)] for vm in waiting], dtype=np.int64)
    while len(waiting):
        rows = np.arange(len(waiting))
        fits = board.welcome(waiting)[rows, hosts]
        change = Slope(board).of_moves(waiting)[rows, hosts]
        touched: set[int] = set()
        done = np.zeros(len(waiting), dtype=bool)
        for row in np.argsort(change, kind="stable"):
            vm, host = int(waiting[row]), int(hosts[row])
            ends = {int(board.at[vm]), host}
            if fits[row] and not ends & touched:
                done[row] = course.make(vm, host, "balance" if change[row] < 0 else "exchange")
                touched |= ends if done[row] else set()
        if not done.any():
            return
        waiting, hosts = waiting[~done], hosts[~done]
