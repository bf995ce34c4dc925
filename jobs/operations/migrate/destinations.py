"""Where a VM may go: what is observed decides in the request, before any host is asked."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from access import gate
from access.actions import Action
from access.errors import NotVisible
from access.gate import Actor, System
from inventory.models import VM, Host
from jobs.errors import NotAdmitted
from jobs.operations.migrate.prechecks import OVERHEAD_MIB


def destinations_for(actor: Actor, vm: VM) -> QuerySet[Host]:
    """Hosts that this actor may place the VM on and that could take it, as far as is observed; the emptiest first."""
    if vm.host is None:
        return Host.objects.none()
    hosts: Any = Host.objects.all() if isinstance(actor, System) else Host.objects.visible_to(actor, Action.PLACE)
    fitting: QuerySet[Host] = hosts.filter(
        cluster_id=vm.host.cluster_id,
        connection=Host.Connection.ONLINE,
        in_maintenance=False,
        memory_free_mib__gte=vm.memory_mib + OVERHEAD_MIB,
    ).exclude(pk=vm.host_id)
    return fitting.order_by("-memory_free_mib", "name")


def destination_chosen(actor: Actor, vm: VM, wanted: int | str | None) -> Host:
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
    refuse_unfit(vm, host)
    return host


def refuse_unfit(vm: VM, host: Host) -> None:
    """Raise NotAdmitted when what is observed speaks against this host."""
    if vm.host_id == host.pk:
        raise NotAdmitted("already_there", f"{vm} is on {host} already.")
    if vm.host is None or vm.host.cluster_id != host.cluster_id:
        raise NotAdmitted("other_cluster", f"{host} is in another cluster; VMs move within theirs.")
    if host.in_maintenance:
        raise NotAdmitted("host_in_maintenance", f"{host} is in maintenance and takes no VMs.")
    if not host.is_online:
        raise NotAdmitted("host_offline", f"{host} does not answer at present.")
    if host.memory_free_mib < vm.memory_mib + OVERHEAD_MIB:
        raise NotAdmitted(
            "memory_short",
            f"{host} has {host.memory_free_mib} MiB free; {vm} needs {vm.memory_mib + OVERHEAD_MIB} MiB.",
        )
