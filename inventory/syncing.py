"""Asking one host what is true, in two lanes, and writing it down.

Fast: one bulk call, every few seconds. Slow: what each VM uses of the CPU, which costs a short call each, and
definitions and snapshots VM by VM, less often (they cost a round trip to QEMU each). A host that does not answer is
marked unreachable; its sightings stay, with their age.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from hypervisor import pool
from hypervisor.errors import GuestNotFound, HostUnreachable, HypervisorError
from hypervisor.protocol import Hypervisor
from inventory.definitions import definition_observed, snapshots_observed
from inventory.loads import cpu_times_observed
from inventory.models import VM, Host
from inventory.observations import guest_observed, guests_observed

log = logging.getLogger(__name__)

#: A definition older than this is read again by the slow lane.
DEFINITION_MAX_AGE = timedelta(minutes=5)
#: VMs whose definitions one slow pass reads at most, so that a pass stays short.
DEFINITIONS_PER_PASS = 100


def host_sync(host: Host, *, slow: bool = False) -> None:
    """Read a host: its facts, all guests' states, and with `slow` what they use and the definitions that are due.

    Never raises a hypervisor error: it becomes the host's connection state.
    """
    try:
        with pool.borrow(host.uri) as connection:
            host_facts_read(host, connection)
            guests_read(host, connection)
            if slow:
                loads_read(host, connection)
                definitions_read(host, connection)
    except HypervisorError as error:
        host_unreachable(host, error)


def host_facts_read(host: Host, connection: Hypervisor) -> None:
    """Read a host's own facts and mark it online."""
    facts = connection.describe_host()
    networks = connection.list_networks()
    Host.objects.filter(pk=host.pk).update(
        connection=Host.Connection.ONLINE,
        connection_error="",
        observed_at=timezone.now(),
        host_uuid=facts.host_uuid,
        hostname=facts.hostname,
        cpus=facts.cpus,
        memory_mib=facts.memory_mib,
        memory_free_mib=facts.memory_free_mib,
        cpu_model=facts.cpu_model[:100],
        hypervisor=facts.hypervisor,
        hypervisor_version=".".join(map(str, facts.hypervisor_version)),
        library_version=".".join(map(str, facts.library_version)),
        networks=networks,
    )


def host_unreachable(host: Host, error: HypervisorError) -> None:
    """Note that a host did not answer, and why; its VMs keep what was last seen of them."""
    log.warning("host %s: %s", host.name, error)
    Host.objects.filter(pk=host.pk).update(connection=Host.Connection.UNREACHABLE, connection_error=str(error)[:500])


def guests_read(host: Host, connection: Hypervisor) -> int:
    """The fast lane. Returns how many sightings changed."""
    asked_at = timezone.now()
    guests = connection.list_guests()
    return guests_observed(host, guests, asked_at, timezone.now())


def guest_read(host: Host, connection: Hypervisor, uuid: str) -> None:
    """One guest's state, now."""
    asked_at = timezone.now()
    try:
        state = connection.guest_state(uuid)
    except GuestNotFound:
        guest_observed(host, uuid, None, asked_at)
    else:
        guest_observed(host, uuid, state, asked_at, timezone.now())


def loads_read(host: Host, connection: Hypervisor) -> int:
    """What the VMs use of the CPU. Returns for how many it was told."""
    asked_at = timezone.now()
    return cpu_times_observed(host, connection.cpu_times_ns(), asked_at)


def definitions_read(host: Host, connection: Hypervisor) -> int:
    """The slow lane: definitions and snapshots that are missing or old. Returns how many VMs were read."""
    due = VM.objects.filter(host=host, missing_since=None).filter(
        Q(definition_observed_at=None) | Q(definition_observed_at__lt=timezone.now() - DEFINITION_MAX_AGE)
    )
    count = 0
    for vm in due.order_by("definition_observed_at")[:DEFINITIONS_PER_PASS]:
        vm_details_read(vm, connection)
        count += 1
    Host.objects.filter(pk=host.pk).update(definitions_observed_at=timezone.now())
    return count


def vm_details_read(vm: VM, connection: Hypervisor) -> None:
    """One VM's definition and snapshots, now. A VM that is busy or just left is passed over: the next pass reads it."""
    asked_at, is_first = timezone.now(), vm.definition_observed_at is None
    try:
        definition = connection.guest_definition(str(vm.uuid))
        snapshots = connection.list_snapshots(str(vm.uuid))
        definition_observed(vm, definition, asked_at)
    except HypervisorError as error:
        if isinstance(error, HostUnreachable):
            raise
        log.info("details of %s were not read: %s", vm, error)
        return
    snapshots_observed(vm, snapshots, asked_at, is_first=is_first)
