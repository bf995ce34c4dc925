"""Steepest descent: the best single move, again and again. How even that makes a cluster is what a plan aims at."""

from __future__ import annotations

import numpy as np

from jobs.balancing.board import Board
from jobs.balancing.estate import Floats, Ints
from jobs.balancing.slope import exact

#: So much imbalance less counts as less.
LEAST_GAIN = 1e-9
#: Up to so many pairs of VM and host each step takes the one best move, as hbal does (ganeti's `tryBalance`); beyond,
#: the best moves between different hosts at once, since one at a time would take minutes.
ONE_AT_A_TIME = 100_000


def descend(board: Board, vms: Ints) -> None:
    """Move `vms` on the board, each as often as it helps, until no single move makes the cluster more even."""
    at_once = 1 if len(vms) * board.hosts <= ONE_AT_A_TIME else max(1, board.hosts // 4)
    while True:
        before = board.imbalance()
        after = np.where(board.welcome(vms), exact(board, vms), np.inf)
        chosen = _best(after, before - LEAST_GAIN, board.at[vms], at_once)
        for row, host in chosen:
            board.move(int(vms[row]), host)
        if not chosen or board.imbalance() > before - LEAST_GAIN:
            return


def _best(after: Floats, limit: float, source: Ints, at_once: int) -> list[tuple[int, int]]:
    """The moves to the least imbalance, best first, of which no two touch the same host."""
    if after.size == 0:
        return []
    hosts = after.shape[1]
    if at_once == 1:
        least = int(after.argmin())
        return [(least // hosts, least % hosts)] if after.flat[least] < limit else []
    destination = after.argmin(axis=1)
    value = after[np.arange(len(after)), destination]
    chosen: list[tuple[int, int]] = []
    touched: set[int] = set()
    for row in np.argsort(value, kind="stable"):
        ends = {int(source[row]), int(destination[row])}
        if value[row] >= limit or len(chosen) == at_once:
            break
        if not ends & touched:
            touched |= ends
            chosen.append((int(row), int(destination[row])))
    return chosen
