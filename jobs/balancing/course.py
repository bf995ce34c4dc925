"""The moves of a plan as they are made, one after the other: the one place where a move becomes part of it."""

from __future__ import annotations

from jobs.balancing.answer import Move
from jobs.balancing.board import TINY, Board
from jobs.balancing.cost import seconds, sent_gib
from jobs.balancing.estate import Bools, Floats
from jobs.balancing.headroom import Headroom


class Course:
    """Moves made on a board so far. `free` are the VMs that may move: each once."""

    def __init__(self, board: Board, free: Bools) -> None:
        self.board = board
        self.free = free.copy()
        self.moves: list[Move] = []
        #: How many moves were not made because of the headroom.
        self.refused = 0
        self._sent = sent_gib(board.estate, board.policy)
        self._seconds = seconds(board.estate, board.policy)
        self._headroom = Headroom(board) if board.policy.n_plus_one else None
        self._stranded = self._headroom.stranded_mib() if self._headroom else 0.0

    def make(self, vm: int, host: int, code: str) -> bool:
        """Move a VM to a host that welcomes it, unless the cluster is then farther from N+1; whether it moved."""
        board = self.board
        source = int(board.at[vm])
        before = board.utilisation[[source, host]]
        board.move(vm, host)
        stranded = self._headroom.stranded_mib() if self._headroom else 0.0
        if stranded > self._stranded + TINY:
            board.move(vm, source)
            self.refused += 1
            return False
        self._stranded = stranded
        self.free[vm] = False
        reason = f"{WHY[code]} {self._effect(vm, source, host, before)}"
        self.moves.append(Move(vm, source, host, code, reason, float(self._sent[vm]), float(self._seconds[vm])))
        return True

    def undo(self, count: int) -> None:
        """Take back all moves but the first `count`."""
        for move in reversed(self.moves[count:]):
            self.board.move(move.vm, move.source)
            self.free[move.vm] = True
        del self.moves[count:]
        self._stranded = self._headroom.stranded_mib() if self._headroom else 0.0

    def _effect(self, vm: int, source: int, host: int, before: Floats) -> str:
        """What the move does to both hosts, on the resource on which the VM weighs most."""
        board = self.board
        after = board.utilisation[[source, host]]
        change = abs(after - before)
        resource = int(change.sum(axis=0).argmax())
        (was, there), (now, then) = before[:, resource], after[:, resource]
        return (
            f"{board.estate.resources[resource]}: {was:.0%} to {now:.0%} where it was, {there:.0%} to {then:.0%} where "
            f"it goes; sends {self._sent[vm]:.1f} GiB."
        )


#: Why a move is made, by its code.
WHY = {
    "not_permitted": "Its host is not permitted to it.",
    "beside_rival": "It is beside a VM that it must not be beside.",
    "host_overfull": "Its host has promised more memory than it has.",
    "not_together": "It is not with the VMs that it belongs to.",
    "balance": "Makes the hosts more evenly used.",
    "exchange": "Changes places with others, so that the hosts are more evenly used.",
}
