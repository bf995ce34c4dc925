"""What is observed of a host that is to be emptied, as far as somebody may know of it: what can move, what cannot and
why, and where to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from access.actions import Action
from access.gate import Actor, System
from inventory.models import VM, Host
from inventory.paths import may_share_storage, unreachable_from
from inventory.placement import sentence
from jobs.operations.hosts.packing import Guest, Plan, Room, pack
from jobs.operations.migrate.destinations import promises_mib, room_mib
from jobs.operations.migrate.prechecks import OVERHEAD_MIB
from jobs.operations.migrate.surroundings import OFF, Surroundings

#: Hosts of which it is told which rule keeps a VM from them.
RULES_TOLD = 3


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
    if not may_share_storage(host):
        return Obstacle(
            "storage_not_shared",
            f"The cluster {host.cluster} has no shared storage; the disks of {vm} would stay behind.",
        )
    return None


def rooms_for(actor: Actor, host: Host, *, broken_too: bool = False) -> dict[int, Host]:
    """The other hosts of the cluster that answer, take VMs, on which the actor may place them, and to which the path is
    not known to be broken (unless `broken_too`).
    """
    hosts: Any = Host.objects.all() if isinstance(actor, System) else Host.objects.visible_to(actor, Action.PLACE)
    found = hosts.taking_vms().filter(cluster=host.cluster_id).exclude(pk=host.pk).select_related("cluster")
    found = found if broken_too else found.exclude(pk__in=unreachable_from(host))
    return {room.pk: room for room in found}


def others_of(host: Host) -> list[Host]:
    """The other hosts of the cluster that would take VMs, those that did not answer lately included."""
    return list(Host.objects.filter(cluster=host.cluster_id, availability__in=Host.TAKING_VMS).exclude(pk=host.pk))


def plan_for(
    vms: Collection[VM], rooms: Mapping[int, Host], barred: Mapping[int, Collection[int]] | None = None
) -> Plan:
    """Where each of these VMs is to go, by the placement rules, with what is on its way to each host already counted.
    `barred` names hosts that a VM has failed to get to.
    """
    promised = promises_mib()
    closed, by_key = barred or {}, {vm.pk: vm for vm in vms}
    around = _around(rooms, leaving=by_key)
    guests = [Guest(vm.pk, vm.memory_mib + OVERHEAD_MIB, frozenset(closed.get(vm.pk, ()))) for vm in vms]
    free = [Room(host.pk, room_mib(host, promised)) for host in rooms.values()]
    return pack(guests, free, lambda key, room, placed: around.objection(by_key[key], room, placed) is not None)


def no_place(actor: Actor, vm: VM, rooms: Mapping[int, Host], places: Mapping[int, int]) -> Obstacle:
    """For a VM without a place in a plan that has put the others in `places`: a rule, or the room."""
    around = _around(rooms, leaving=[vm.pk])
    rules = {host.pk: around.objection(vm, host.pk, places) for host in rooms.values()}
    forbidding = [(rooms[pk], rule) for pk, rule in rules.items() if rule is not None]
    if forbidding and len(forbidding) == len(rooms):
        return Obstacle("placement_rule", " ".join(sentence(rule, vm, host) for host, rule in forbidding[:RULES_TOLD]))
    needed = vm.memory_mib + OVERHEAD_MIB
    where = f"Of the hosts on which {actor.username} may place VMs" + (", by the placement rules" if forbidding else "")
    broken = vm.host is not None and unreachable_from(vm.host).exists()
    path = " A path is broken as well, see those of its host." if broken else ""
    return Obstacle("no_destination", f"{where}, none has the {needed} MiB that {vm} needs.{path}")


def _around(rooms: Mapping[int, Host], leaving: Collection[int]) -> Surroundings:
    """The cluster that the rooms are in, in which these VMs leave their hosts."""
    cluster = next((host.cluster_id for host in rooms.values()), None)
    return Surroundings(()) if cluster is None else Surroundings.of(cluster, along=leaving)


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
    without = [found.movable[pk] for pk in sorted(plan.homeless)]
    homeless = {vm.pk: (vm, no_place(actor, vm, rooms, plan.places)) for vm in without}
    return Outlook(found, moves, found.stuck | homeless)
