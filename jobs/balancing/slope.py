"""By how much moves change the imbalance: an estimate that never promises too much, for all moves at once.

The imbalance is a sum of square roots, and a square root lies below its tangent: with g_r = w_r / (2 H d_r), d_r the
deviation now, a change of the squared distances by s_r changes the imbalance by at most the sum of g_r * s_r. The
squared distances change by a quadratic form, so that the estimate for all VMs and all hosts is two products of
matrices, and that for two moves together is the sum of both and one product more.
"""

from __future__ import annotations

import numpy as np

from jobs.balancing.board import LEAST_DEVIATION, Board
from jobs.balancing.estate import Floats, Ints


class Slope:
    """The tangent at a board's placement. It holds until the board changes."""

    def __init__(self, board: Board) -> None:
        self.board = board
        steepness = board.weights / (2 * board.hosts * np.maximum(board.deviations(), LEAST_DEVIATION))
        self._linear = 2 * steepness * board.share * board.off
        #: What two moves to or from a host add to the sum of both: (H, R).
        self.both = 2 * steepness * board.share**2

    def of_moves(self, vms: Ints) -> Floats:
        """The change for each of these VMs going to each host, shape (len(vms), H)."""
        board = self.board
        linear = board.loads[vms] @ self._linear.T
        square = board.squares[vms] @ (self.both.T / 2)
        rows, source = np.arange(len(vms)), board.at[vms]
        leaving = square[rows, source] - linear[rows, source]
        change: Floats = linear + square + leaving[:, None]
        change[rows, source] = 0.0
        return change


def exact(board: Board, vms: Ints) -> Floats:
    """The imbalance after each of these VMs went to each host, shape (len(vms), H). Slower than the estimate."""
    total = np.zeros((len(vms), board.hosts))
    squares = (board.off**2).sum(axis=0)
    for resource, weight in enumerate(board.weights):
        off = board.off[:, resource]
        load = board.loads[vms, resource]
        share = board.share[:, resource]
        source = board.at[vms]
        leaves = (off[source] - load * share[source]) ** 2 - off[source] ** 2
        adds = load[:, None] * share[None, :]
        after = squares[resource] + leaves[:, None] + adds * (2 * off[None, :] + adds)
        total += weight * np.sqrt(np.maximum(after, 0) / board.hosts)
    total[np.arange(len(vms)), board.at[vms]] = board.imbalance()
    return total
