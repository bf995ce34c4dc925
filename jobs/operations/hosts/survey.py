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
        obstacle = not_allowed(actor, Action.MIGRATE, vm) if vm.pk not in theirs else _obstacle(vm, host)
        if obstacle is None:
            movable[vm.pk] = vm
        else:
            stuck[vm.pk] = (vm, obstacle)
    running = found.exclude(power_state__in=OFF).count()
    return Survey(host, movable, stuck, off, hidden=running - len(movable) - len(stuck))


def not_allowed(actor: Actor, action: Action, on: Any) -> Obstacle:
    """For a VM, or a host that it was to go to, on which the asker may not do that."""
    return Obstacle("not_allowed", f"{actor.username} does not hold the right “{action.label}” on {on}.")


def _obstacle(vm: VM, host: Host) -> Obstacle | None:
    if vm.why_stopped:
        return Obstacle("split_brain", vm.why_stopped)
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


def others_of(host: Host) -> list[Host]:
    """The other hosts of the cluster that would take VMs, those that did not answer lately included."""
    return list(Host.objects.filter(cluster=host.cluster_id, availability__in=Host.TAKING_VMS).exclude(pk=host.pk))


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


def no_room(actor: Actor, vm: VM) -> Obstacle:
    """For a VM without a place in the plan."""
    needed = vm.memory_mib + OVERHEAD_MIB
    where = f"Of the hosts on which {actor.username} may place VMs"
    return Obstacle("no_destination", f"{where}, none has the {needed} MiB that {vm} needs.")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would become of everything on a host that is drained, as is observed now."""

    survey: Survey
    moves: list[tuple[VM, Host]]
    stuck: dict[int, tuple[VM, Obstacle]]

    @property
    def is_complete(self) -> bool:
        """Whether the host would become empty."""
        return not self.stuck and not self.survey.hidden


def outlook(actor: Actor, host: Host) -> Outlook:
    """The whole plan, before anything moves. Reads the database only."""
    found, rooms = survey(actor, host), rooms_for(actor, host)
    plan = plan_for(found.movable.values(), rooms)
    moves = [(found.movable[pk], rooms[place]) for pk, place in plan.places.items()]
    homeless = {pk: (found.movable[pk], no_room(actor, found.movable[pk])) for pk in sorted(plan.homeless)}
    return Outlook(found, moves, found.stuck | homeless)
