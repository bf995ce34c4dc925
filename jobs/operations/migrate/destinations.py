"""Where a VM may go: what is observed decides in the request, before any host is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import F, QuerySet

from access import gate
from access.actions import Action
from access.errors import NotVisible
from access.gate import Actor, System
from inventory.models import VM, Host
from inventory.paths import unreachable_from
from jobs.errors import NotAdmitted
from jobs.models import Job
from jobs.operations.migrate.prechecks import OVERHEAD_MIB
from jobs.operations.migrate.surroundings import MIGRATE, Surroundings, forbidden


def destinations_for(actor: Actor, vm: VM) -> QuerySet[Host]:
    """Hosts that this actor may place the VM on and that could take it, as far as is observed; the emptiest first."""
    if vm.host is None:
        return Host.objects.none()
    hosts: Any = Host.objects.all() if isinstance(actor, System) else Host.objects.visible_to(actor, Action.PLACE)
    needed = vm.memory_mib + OVERHEAD_MIB
    enough = F("reserved_mib") + needed
    fitting: QuerySet[Host] = hosts.taking_vms().filter(cluster_id=vm.host.cluster_id, memory_free_mib__gte=enough)
    promised = promises_mib()
    short = [host.pk for host in fitting.filter(pk__in=promised) if room_mib(host, promised) < needed]
    fitting = fitting.exclude(pk__in=unreachable_from(vm.host))
    around = Surroundings.of(vm.host.cluster_id)
    ruled_out = [host.pk for host in fitting if around.objection(vm, host.pk)] if around.rules else []
    fitting = fitting.exclude(pk__in=[vm.host_id, *short, *ruled_out])
    return fitting.order_by(F("reserved_mib") - F("memory_free_mib"), "name")


def promises_mib(before: Job | None = None) -> dict[int, int]:
    """Host id -> memory in MiB that migrations which are queued or under way will take there, and that its figures may
    not show yet; with `before`, only of those that were asked for earlier than that job.
    """
    coming = Job.objects.active().filter(operation=MIGRATE)
    if before is not None:
        coming = coming.filter(created_at__lt=before.created_at)
    promised: dict[int, int] = {}
    for destination, host, memory in coming.values_list("params__destination", "vm__host", "vm__memory_mib"):
        if destination != host:  # else it is there already
            promised[destination] = promised.get(destination, 0) + memory + OVERHEAD_MIB
    return promised


def room_mib(host: Host, promised: Mapping[int, int]) -> int:
    """Memory in MiB that a host has left for further VMs, beyond what it keeps for itself."""
    return host.memory_free_mib - host.reserved_mib - promised.get(host.pk, 0)


def destination_chosen(actor: Actor, vm: VM, wanted: int | str | None, part_of: Job | None = None) -> Host:
    """The host asked for, or the emptiest that fits. Raises NotAdmitted, NotAllowed, NotVisible."""
    if wanted is None:
        host = destinations_for(actor, vm).first()
        if host is None:
            raise NotAdmitted("no_destination", f"No host that you may place VMs on has room for {vm}.")
        return host
    field = "pk" if isinstance(wanted, int) else "name"
    host = Host.objects.select_related("cluster").filter(**{field: wanted}).first()
    if host is None:
        raise NotVisible(user=actor, action=Action.PLACE, target=host)
    gate.authorise(actor, Action.PLACE, host)
    refuse_unfit(vm, host, part_of)
    return host


def refuse_unfit(vm: VM, host: Host, part_of: Job | None = None) -> None:
    """Raise NotAdmitted when what is observed speaks against this host."""
    if vm.host_id == host.pk:
        raise NotAdmitted("already_there", f"{vm} is on {host} already.")
    if vm.host is None or vm.host.cluster_id != host.cluster_id:
        raise NotAdmitted("other_cluster", f"{host} is in another cluster; VMs move within theirs.")
    if host.in_maintenance:
        raise NotAdmitted("host_in_maintenance", f"{host} is in maintenance and takes no VMs.")
    if not host.is_online:
        raise NotAdmitted("host_offline", f"{host} does not answer at present.")
    if unreachable_from(vm.host).filter(destination=host).exists():
        raise NotAdmitted(
            "path_broken", f"No VM gets from {vm.host} to {host} at present; prove the path once it is mended."
        )
    rule_says = forbidden(vm, host, part_of=part_of)
    if rule_says:
        raise NotAdmitted("placement_rule", rule_says)
    room, needed = room_mib(host, promises_mib()), vm.memory_mib + OVERHEAD_MIB
    if room < needed:
        raise NotAdmitted("memory_short", f"{host} has {max(room, 0)} MiB left for VMs; {vm} needs {needed} MiB.")
