"""What is observed of a host that is to be emptied, as far as somebody may know of it: what can move, what cannot and
why, and where to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from access.actions import Action
from access.gate import Actor, System
from hypervisor.types import PowerState
from inventory.models import VM, Host
from jobs.operations.hosts.packing import Guest, Plan, Room, pack
from jobs.operations.migrate.destinations import promises_mib, room_mib
from jobs.operations.migrate.prechecks import OVERHEAD_MIB

#: In these a VM takes nothing of its host but disk: it stays defined there and is in nobody's way.
OFF = frozenset({PowerState.SHUT_OFF.value, PowerState.CRASHED.value})


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a VM cannot move: a stable code, and a sentence that a person can act on."""

    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The VMs on one host. `hidden` counts those that run there and that the asker does not see."""

    host: Host
    movable: dict[int, VM]
    stuck: dict[int, tuple[VM, Obstacle]]
    off: dict[int, VM]
    hidden: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs on the host."""
        return not self.movable and not self.stuck and not self.hidden


def survey(actor: Actor, host: Host) -> Survey:
    """Look at everything on a host with the eyes of who wants it emptied. Reads the database only."""
    found = VM.objects.filter(host=host, missing_since=None).order_by("name", "pk")
    seen: Any = found if isinstance(actor, System) else found.visible_to(actor)
    migratable: Any = found if isinstance(actor, System) else found.visible_to(actor, Action.MIGRATE)
    theirs = set(migratable.values_list("pk", flat=True))
    movable, stuck, off = {}, {}, {}
    for vm in seen:
        if vm.power_state in OFF:
            off[vm.pk] = vm
            continue
        obstacle = _obstacle(vm, host, is_theirs=vm.pk in theirs)
        if obstacle is None:
            movable[vm.pk] = vm
        else:
            stuck[vm.pk] = (vm, obstacle)
    running = found.exclude(power_state__in=OFF).count()
    return Survey(host, movable, stuck, off, hidden=running - len(movable) - len(stuck))


def _obstacle(vm: VM, host: Host, *, is_theirs: bool) -> Obstacle | None:
    if not is_theirs:
        return Obstacle("not_allowed", f"You do not hold the right “{Action.MIGRATE.label}” on {vm}.")
    if vm.is_split:
        return Obstacle("split_brain", f"Two hosts say that they run {vm}; a person must settle that first.")
    if not vm.is_running:
        state = vm.get_power_state_display()
        return Obstacle(
            "vm_not_running", f"{vm} is {state}; only a running VM migrates live. Resume it or switch it off."
        )
    if not host.cluster.shared_storage:
        return Obstacle(
            "storage_not_shared",
            f"The cluster {host.cluster} has no shared storage; the disks of {vm} would stay behind.",
        )
    return None


def rooms_for(actor: Actor, host: Host) -> dict[int, Host]:
    """The other hosts of the cluster that answer, take VMs, and on which the actor may place them."""
    hosts: Any = Host.objects.all() if isinstance(actor, System) else Host.objects.visible_to(actor, Action.PLACE)
    found = hosts.taking_vms().filter(cluster=host.cluster_id).exclude(pk=host.pk).select_related("cluster")
    return {room.pk: room for room in found}


def plan_for(
    vms: Collection[VM], rooms: Mapping[int, Host], barred: Mapping[int, Collection[int]] | None = None
) -> Plan:
    """Where each of these VMs is to go, with what is on its way to each host already counted. `barred` names hosts that
    a VM has failed to get to.
    """
    promised = promises_mib()
    closed = barred or {}
    guests = [Guest(vm.pk, vm.memory_mib + OVERHEAD_MIB, frozenset(closed.get(vm.pk, ()))) for vm in vms]
    return pack(guests, [Room(host.pk, room_mib(host, promised)) for host in rooms.values()])


def no_room(vm: VM) -> Obstacle:
    """For a VM without a place in the plan."""
    needed = vm.memory_mib + OVERHEAD_MIB
    return Obstacle("no_destination", f"No host that you may place VMs on has the {needed} MiB that {vm} needs.")
