"""The plan for a cluster in the words of the inventory: which VM goes where, why, at what cost, and what not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from access.gate import Actor
from inventory.models import VM, Cluster, Host
from jobs.balancing.answer import Plan, Standing
from jobs.balancing.board import Board
from jobs.balancing.ground import gains
from jobs.balancing.planner import plan, standing
from jobs.balancing.policy import BANDWIDTH_MIB_S, Policy
from jobs.balancing.shorten import shortened
from jobs.operations.rebalance.reading import RESOURCES, Asked, Reading, Window, read

#: So many moves at most, unless somebody wants more or fewer.
MOST_MOVES = 20


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A VM and where it is to go. `reason` names nobody; `gain` is by how much it lowers the imbalance,
    when its turn comes; `sent_gib` and `seconds` are estimates."""

    vm: VM
    source: Host
    destination: Host
    code: str
    reason: str
    gain: float
    sent_gib: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What the plan does not bring about, and about which VMs and hosts that is. `impossible`: no placement does."""

    code: str
    reason: str
    impossible: bool
    vms: list[VM]
    hosts: list[Host]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be done about a cluster. Without a `reading` there was nothing to look at."""

    reading: Reading | None
    plan: Plan | None
    moves: list[PlannedMove]
    unmet: list[Shortfall]
    verdict: str

    @property
    def figures(self) -> dict[str, Any]:
        """What of it everybody may know who sees the cluster: counts, shares and sentences without a name."""
        before, after = (self.plan.before, self.plan.after) if self.plan else (None, None)
        return {
            "verdict": self.verdict,
            "planned": len(self.moves),
            "sent_gib": round(sum(move.sent_gib for move in self.moves), 2),
            "seconds": round(sum(move.seconds for move in self.moves), 1),
            "before": standing_figures(before),
            "after": standing_figures(after),
            "unmet": [
                {"code": one.code, "message": one.reason, "impossible": one.impossible, "vms": len(one.vms)}
                for one in self.unmet
            ],
            "unknown_loads": self.reading.unknown if self.reading else 0,
        }


def standing_figures(standing: Standing | None) -> dict[str, Any] | None:
    """How a placement stands, as results and the API give it: fractions of 1, by resource."""
    if standing is None:
        return None
    return {
        "imbalance": round(standing.imbalance, 4),
        "over_mean": {name: round(value, 4) for name, value in zip(RESOURCES, standing.over_mean, strict=True)},
        "fullest": {name: round(value, 4) for name, value in zip(RESOURCES, standing.fullest, strict=True)},
        "stranded_mib": round(standing.stranded_mib),
    }


def policy_for(bandwidth_mib: int) -> Policy:
    """How to decide, when migrations are capped at that many MiB/s; 0 is no cap."""
    return Policy(bandwidth_mib_s=float(bandwidth_mib or BANDWIDTH_MIB_S))


def propose(
    actor: Actor,
    cluster: Cluster,
    *,
    most_moves: int = MOST_MOVES,
    bandwidth_mib: int = 0,
    asked: Asked | None = None,
    past: Window | None = None,
) -> Proposal:
    """Plan for a cluster as it is observed now, with an actor's rights. Reads the database only."""
    reading = read(actor, cluster, asked=asked, past=past or {})
    if reading is None:
        return Proposal(None, None, [], [], f"No host of {cluster} is active and answers.")
    policy = policy_for(bandwidth_mib)
    found = shortened(plan(reading.estate, policy), reading.estate, policy, most_moves)
    hosts, vms = reading.hosts, reading.vms
    gained = gains(reading.estate, policy, found.moves)
    moves = [
        PlannedMove(
            vms[move.vm], hosts[move.source], hosts[move.destination], move.code, move.reason, gain, move.sent_gib,
            move.seconds,
        )
        for move, gain in zip(found.moves, gained, strict=True)
    ]  # fmt: skip
    unmet = [
        Shortfall(one.code, one.reason, one.impossible, [vms[vm] for vm in one.vms], [hosts[h] for h in one.hosts])
        for one in found.unmet
    ]
    return Proposal(reading, found, moves, unmet, found.verdict)


def standing_now(actor: Actor, cluster: Cluster, bandwidth_mib: int) -> dict[str, Any] | None:
    """How the cluster stands as it is observed now."""
    reading = read(actor, cluster)
    if reading is None:
        return None
    return standing_figures(standing(Board(reading.estate, policy_for(bandwidth_mib))))


def written(proposal: Proposal) -> dict[str, Any]:
    """A plan as a job keeps it: VMs and hosts by id, since not everybody who sees the job may know of them."""
    return {
        "moves": [
            {
                "vm": move.vm.pk, "source": move.source.pk, "destination": move.destination.pk, "code": move.code,
                "reason": move.reason, "gain": round(move.gain, 6), "sent_gib": round(move.sent_gib, 3),
                "seconds": round(move.seconds, 1),
            }
            for move in proposal.moves
        ],
        "unmet": [
            {
                "code": one.code, "message": one.reason, "impossible": one.impossible,
                "vms": [vm.pk for vm in one.vms], "hosts": [host.pk for host in one.hosts],
            }
            for one in proposal.unmet
        ],
    }  # fmt: skip
