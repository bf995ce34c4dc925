"""What the planner says: the moves in their order, what cannot be put right, and how the cluster stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Move:
    """A VM goes from a host to another. `code` is stable, `reason` for a person, `sent_gib` and `seconds` estimated.

    Codes: `not_permitted`, `beside_rival`, `host_overfull`, `not_together` put a breach right; `balance` makes the
    cluster more even; `exchange` does not by itself, but with a later move.
    """

    vm: int
    source: int
    destination: int
    code: str
    reason: str
    sent_gib: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Unmet:
    """Something that the plan does not bring about. `impossible`: no placement does; else none was found.

    Codes: those of the moves that put a breach right, `headroom`, and the proofs' `no_host_permitted`, `too_large`,
    `apart_too_many`, `together_contradiction`, `cluster_overfull`.
    """

    code: str
    reason: str
    impossible: bool
    vms: tuple[int, ...] = ()
    hosts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a placement stands.

    `imbalance` is what the planner lowers; `over_mean` by how much the fullest host is over the mean, and `fullest`
    how full it is, for each resource; `stranded_mib` the memory that the failure of one host leaves without a place.
    """

    imbalance: float
    over_mean: tuple[float, ...]
    fullest: tuple[float, ...]
    stranded_mib: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Moves in the order in which they are to be made, and every state between them keeps the rules.

    `verdict` says in one sentence why there are these moves, or none.
    """

    moves: tuple[Move, ...]
    unmet: tuple[Unmet, ...]
    before: Standing
    after: Standing
    verdict: str

    @property
    def sent_gib(self) -> float:
        """What all moves send, in GiB."""
        return sum(move.sent_gib for move in self.moves)
