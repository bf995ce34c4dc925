"""Carrying a plan out: in its order, one move at a time, each only if the cluster still asks for it by then."""

from __future__ import annotations

from typing import Any

from inventory.models import VM, Cluster, Host
from jobs.balancing.ground import lost
from jobs.engine.context import JobContext
from jobs.models import Job
from jobs.operations.hosts.pace import Caps, Route
from jobs.operations.hosts.parts import Parts, facts_read
from jobs.operations.hosts.standing import written
from jobs.operations.hosts.survey import Obstacle
from jobs.operations.migrate.surroundings import MIGRATE, PREVIEW
from jobs.operations.rebalance.proposal import policy_for
from jobs.operations.rebalance.reading import read

GONE, BUSY = "ground_gone", "vm_busy"
#: A move that was left out for one of these is no failure: there was no reason for it any more, or no time.
GROUNDS = frozenset({GONE, BUSY})


class Carrying:
    """One pass: what is under way is waited for; else the next move that still has its ground begins."""

    def __init__(self, context: JobContext, cluster: Cluster, parts: Parts) -> None:
        self.context, self.cluster, self.parts = context, cluster, parts
        self.moves: list[dict[str, Any]] = context.job.journal["plan"]["moves"]
        kept: dict[str, list[str]] = context.job.journal.get("left", {})
        self.left = {int(pk): Obstacle(*found) for pk, found in kept.items()}
        self.moved = {part.vm_id for part in parts.succeeded(MIGRATE)}

    def go_on(self) -> None:
        """Begin the next move, unless one is under way."""
        if not self.parts.under_way:
            for move in self.moves:
                if move["vm"] not in self.left and move["vm"] not in self.moved and self._try(move):
                    break
        self._tell()

    def _try(self, move: dict[str, Any]) -> bool:
        """Whether to wait for this move, begun or put off; False when it is left out."""
        vm = VM.objects.filter(pk=move["vm"]).select_related("host").first()
        host = Host.objects.select_related("cluster").filter(pk=move["destination"]).first()
        if vm is None or host is None:
            self.left[move["vm"]] = Obstacle(GONE, "It, or the host that it was to go to, is not there any more.")
            return False
        obstacle = self._ground_lost(vm, host, move)
        if obstacle is None and self.parts.ready([vm], MIGRATE):
            route = Route(vm.pk, move["source"], host.pk)
            self.parts.begin_moves([route], {vm.pk: vm}, {host.pk: host}, Caps())
        obstacle = obstacle or self.parts.left.get(vm.pk)
        if obstacle is not None:
            self.left[vm.pk] = obstacle
        return obstacle is None

    def _ground_lost(self, vm: VM, host: Host, move: dict[str, Any]) -> Obstacle | None:
        """Why the move is not to be made any more, by the cluster as it is now."""
        if vm.host_id != move["source"]:
            return Obstacle(GONE, f"{vm} is not on the host any more that it was to leave.")
        if Job.objects.active().filter(vm=vm).exclude(operation=PREVIEW).exists():
            return Obstacle(BUSY, f"Another job holds {vm}; the next plan may take it up.")
        facts_read(self.context, host)
        reading = read(self.context.actor, self.cluster)
        number = reading.number_of(vm.pk) if reading else None
        destination = reading.number_of_host(host.pk) if reading else None
        if reading is None or number is None or destination is None:
            return Obstacle(GONE, f"{vm} does not run any more, or {host} takes no VMs by now.")
        if reading.estate.movable is not None and not reading.estate.movable[number]:
            return Obstacle(GONE, f"{vm} cannot be moved now, or not by {self.context.actor.username}.")
        policy = policy_for(self.context.params["bandwidth_mib"])
        why = lost(reading.estate, policy, number, destination, move["code"], planned_gain=move["gain"])
        return Obstacle(GONE, why) if why is not None else None

    def _tell(self) -> None:
        to_go = len(self.moves) - len(self.moved) - len(self.left)
        percent = 100 * len(self.moved) // max(len(self.moves), 1)
        self.context.note(left=written(self.left))
        facts = {"moved": len(self.moved), "to_go": to_go, "left": len(self.left)}
        self.context.progress("balancing", percent, shown_at_once=False, **facts)
