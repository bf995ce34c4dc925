"""Making a set of moves better as a whole: another destination, another VM instead, two VMs exchanged.

Steepest descent never takes a move back. Here the VMs that are away may go on to another host, go home while another
VM takes their place, or exchange places with another VM. All of that is judged at once, by the estimate of `slope`:
with M VMs away and C that may move, M x C pairs. What the estimate calls better is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.balancing.board import TINY, Board
from jobs.balancing.estate import Bools, Floats, Ints
from jobs.balancing.slope import Slope

#: So many of the best exchanges of a kind are looked at for being independent of each other.
BEST = 24
#: A smaller change is none.
LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Exchange:
    """VMs with the hosts that they go to, and by how much that changes what is minimised."""

    change: float
    moves: tuple[tuple[int, int], ...]


class Neighbourhood:
    """All that can be exchanged from the board's placement. `vms` are those that may move, `some` of them are away."""

    def __init__(self, board: Board, vms: Ints, some: Ints) -> None:
        self.board = board
        self.vms = vms
        self.some = some
        self.slope = Slope(board)
        self.evenness = self.slope.of_moves(vms)
        self.prices = self._price_changes()
        self.admits = board.admits(vms)
        #: Where each of `some` stands in `vms`.
        self.rows = np.searchsorted(vms, some)
        self.source, self.back = board.at[some], board.home[some]

    def _price_changes(self) -> Floats:
        """What each VM's move to each host adds to what is paid, shape (C, H)."""
        board, vms = self.board, self.vms
        price, home = board.price[vms], board.home[vms]
        away = board.at[vms] != home
        change = np.repeat(np.where(away, 0.0, price)[:, None], board.hosts, axis=1)
        change[away, home[away]] = -price[away]
        return change

    def single(self) -> Bools:
        """Which single moves can be made, shape (C, H)."""
        return self.board.welcome(self.vms)

    def replaces(self) -> Bools:
        """Which VMs could come to the host of each of `some` if that one left, shape (M, C)."""
        board, vms, some = self.board, self.vms, self.some
        result = self.admits.T[self.source] & (board.at[vms][None, :] != self.source[:, None])
        for column in range(board.needs.shape[1]):
            room = board.left[self.source, column] + board.needs[some, column] + TINY
            result &= board.needs[vms, column][None, :] <= room[:, None]
        return result

    def returns(self) -> Bools:
        """Which of `some` could go home when a VM comes in its place, shape (M, C)."""
        board, vms, some = self.board, self.vms, self.some
        result = np.repeat(self.admits[self.rows, self.back][:, None], len(vms), axis=1)
        leaves_there = self.from_home()
        for column in range(board.needs.shape[1]):
            room = board.left[self.back, column][:, None] + np.where(leaves_there, board.needs[vms, column], 0.0)
            result &= board.needs[some, column][:, None] <= room + TINY
        return result

    def from_home(self) -> Bools:
        """Whether a VM is on the host that one of `some` came from, shape (M, C)."""
        return self.board.at[self.vms][None, :] == self.back[:, None]

    def enters(self) -> Bools:
        """Which of `some` could go to the host of a VM that leaves it, shape (M, C)."""
        board, vms, some = self.board, self.vms, self.some
        there = board.at[vms]
        result = self.admits[self.rows][:, there]
        for column in range(board.needs.shape[1]):
            room = board.left[there, column] + board.needs[vms, column] + TINY
            result &= board.needs[some, column][:, None] <= room[None, :]
        return result

    def together(self, hosts: Ints) -> Floats:
        """What two moves that touch one host change less than the sum of both, host by host of `some`, (M, C)."""
        board = self.board
        product: Floats = (board.loads[self.some] * self.slope.both[hosts]) @ board.loads[self.vms].T
        return product

    def substitution(self, change: Floats) -> Floats:
        """The sum over one of `some` going home and a VM coming in its place, of a change by move (C, H): (M, C)."""
        result: Floats = change[self.rows, self.back][:, None] + change.T[self.source]
        return result

    def substitution_evenness(self) -> Floats:
        """The change of the imbalance by each substitution, shape (M, C)."""
        both_ends = np.where(self.from_home(), self.together(self.back), 0.0)
        result: Floats = self.substitution(self.evenness) - self.together(self.source) - both_ends
        return result

    def swap(self, change: Floats) -> Floats:
        """The sum over one of `some` and a VM exchanging hosts, of a change by move (C, H): (M, C)."""
        result: Floats = change[self.rows][:, self.board.at[self.vms]] + change.T[self.source]
        return result

    def swap_evenness(self) -> Floats:
        """The change of the imbalance by each swap, shape (M, C)."""
        board, vms = self.board, self.vms
        there: Floats = board.loads[self.some] @ (self.slope.both[board.at[vms]] * board.loads[vms]).T
        result: Floats = self.swap(self.evenness) - self.together(self.source) - there
        return result


def improve(board: Board, vms: Ints, some: Ints, dearness: float) -> int:
    """Make the best independent exchanges that lower imbalance + `dearness` * price; how many that were.

    `vms` are those that may move (in order), `some` those of them that are away and are looked at in pairs.
    """
    near = Neighbourhood(board, vms, some)
    hosts, count = board.hosts, len(vms)
    change = np.where(near.single(), near.evenness + dearness * near.prices, np.inf)
    found = [Exchange(value, ((int(vms[at // hosts]), at % hosts),)) for value, at in _least(change)]
    if len(some):
        replaces = near.replaces()
        change = near.substitution_evenness() + dearness * near.substitution(near.prices)
        for value, at in _least(np.where(replaces & near.returns(), change, np.inf)):
            one, other = at // count, at % count
            first, second = (int(some[one]), int(near.back[one])), (int(vms[other]), int(near.source[one]))
            found.append(Exchange(value, (first, second)))
        change = near.swap_evenness() + dearness * near.swap(near.prices)
        for value, at in _least(np.where(replaces & near.enters(), change, np.inf)):
            one, other = at // count, at % count
            first, second = (int(some[one]), int(board.at[vms[other]])), (int(vms[other]), int(near.source[one]))
            found.append(Exchange(value, (first, second)))
    return _make(board, found)


def _least(change: Floats) -> list[tuple[float, int]]:
    """The best entry of each row, as far as it is below nothing, with its place in the whole, best first."""
    if change.size == 0:
        return []
    columns = change.argmin(axis=1)
    values = change[np.arange(len(change)), columns]
    rows = np.argsort(values, kind="stable")[:BEST]
    return [
        (float(values[row]), int(row) * change.shape[1] + int(columns[row])) for row in rows if values[row] < -LEAST
    ]


def _make(board: Board, found: list[Exchange]) -> int:
    """Make those exchanges, best first, that touch no host that another touched: their changes add up."""
    touched: set[int] = set()
    made = 0
    for exchange in sorted(found, key=lambda one: (one.change, one.moves)):
        ends = {int(board.at[vm]) for vm, _ in exchange.moves} | {host for _, host in exchange.moves}
        if ends & touched:
            continue
        touched |= ends
        for vm, host in exchange.moves:
            board.move(vm, host)
        made += 1
    return made
