"""N+1: whatever one host fails, its VMs can start on the others."""

from __future__ import annotations

import numpy as np

from jobs.balancing.binding import permitted
from jobs.balancing.board import TINY, Board
from jobs.balancing.estate import Bools, Floats, Ints


class Headroom:
    """Tells how much memory the failure of one host would leave without a place.

    It places the VMs of each host that may fail on the others, largest first, each where the least is left that still
    suffices (best fit decreasing), where it is permitted and no rival is: an actual placement, so that none stranded
    means that there is a way. The reverse does not hold: a cleverer placement may exist where this one strands some.
    Keeping `Together` is not asked for after a failure, and a VM that the rules permit on one host alone is not
    counted: it has nowhere to start, wherever it is, and would forbid all that the rule asks for.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        accepting = board.estate.accepting
        self._accepting: Bools = np.ones(board.hosts, dtype=bool) if accepting is None else accepting
        self._counts = permitted(board.estate).sum(axis=1) > 1
        #: VMs that cannot go to every accepting host.
        self._bound = np.asarray(~board.may_enter[:, self._accepting].all(axis=1))
        self._bound[board.rules.having()] = True

    def stranded_mib(self) -> float:
        """The most memory in MiB that one host's failure leaves without a place; 0.0 when every host may fail."""
        board = self._board
        if board.hosts < 2:
            return float(board.memory[self._counts].sum())
        doubtful = ~self._surely_safe()
        if not doubtful.any():
            return 0.0
        return float(self._stranded(np.flatnonzero(doubtful)).max())

    def _room(self) -> Floats:
        return np.where(self._accepting, np.maximum(self._board.left_mib, 0.0), 0.0)

    def _surely_safe(self) -> Bools:
        """Hosts whose VMs go anywhere and find room in whatever order they are placed.

        A VM finds no room only when every host has less left than the largest, so that until then at least the sum of
        what each has left beyond the largest was placed.
        """
        board = self._board
        room = self._room()
        largest = np.zeros(board.hosts)
        np.maximum.at(largest, board.at, board.memory)
        used = np.bincount(board.at, weights=board.memory, minlength=board.hosts)
        beyond = np.maximum(room[None, :] - largest[:, None], 0.0)
        np.fill_diagonal(beyond, 0.0)
        bound = np.bincount(board.at, weights=self._bound, minlength=board.hosts) > 0
        safe: Bools = (used <= TINY) | (~bound & (beyond.sum(axis=1) >= used))
        return safe

    def _stranded(self, failing: Ints) -> Floats:
        """The memory that each of these hosts' failure strands: all hosts at once, one VM of each at a time."""
        board = self._board
        turns = self._turns(failing)
        room = np.repeat(self._room()[None, :], len(failing), axis=0)
        room[np.arange(len(failing)), failing] = -1.0
        stranded = np.zeros(len(failing))
        for turn in turns.T:
            rows = np.flatnonzero(turn >= 0)
            vms = turn[rows]
            need = np.where(self._counts[vms], board.memory[vms], 0.0)
            fits = board.may_enter[vms] & (room[rows] + TINY >= need[:, None])
            if board.rules:
                fits &= board.rivals[vms] == 0
            left = np.where(fits, room[rows], np.inf)
            chosen = left.argmin(axis=1)
            placed = np.isfinite(left[np.arange(len(rows)), chosen])
            room[rows[placed], chosen[placed]] -= need[placed]
            stranded[rows[~placed]] += need[~placed]
        return stranded

    def _turns(self, failing: Ints) -> Ints:
        """The VMs of each failing host, largest first, shape (len(failing), most VMs on one); -1 for none."""
        board = self._board
        row = np.full(board.hosts, -1)
        row[failing] = np.arange(len(failing))
        there = np.flatnonzero(row[board.at] >= 0)
        there = there[np.lexsort((there, -board.memory[there], row[board.at[there]]))]
        count = np.bincount(row[board.at[there]], minlength=len(failing))
        starts = np.cumsum(count) - count
        turns = np.full((len(failing), int(count.max())), -1)
        turns[row[board.at[there]], np.arange(len(there)) - starts[row[board.at[there]]]] = there
        return turns
