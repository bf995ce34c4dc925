"""What the checks before a migration look at, asked of both hosts once."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType

from hypervisor.protocol import Hypervisor
from hypervisor.types import (
    Activity,
    GuestDefinition,
    GuestNeeds,
    GuestState,
    HostFacts,
    HostIdentity,
    HostLacks,
    SavedSnapshot,
)
from inventory.models import VM, Host, HostPair
from jobs.operations.migrate.prechecks.disks import Copy, old_copies, read_copies, shared_how, writable


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the checks look at, read once from both hosts."""

    vm: VM
    source: Host
    destination: Host
    state: GuestState
    activity: Activity
    definition: GuestDefinition
    needs: GuestNeeds
    there: list[GuestState]
    source_identity: HostIdentity
    destination_facts: HostFacts
    lacks: HostLacks
    snapshots: list[SavedSnapshot]
    promised_mib: int
    path: HostPair | None
    forbidden: str = ""
    copies: tuple[Copy, ...] = ()
    old_copies: frozenset[str] = frozenset()
    promised_bytes: Mapping[str, int] = field(default_factory=dict)


def read_facts(
    vm: VM,
    source: Host,
    destination: Host,
    on_source: Hypervisor,
    on_destination: Hypervisor,
    *,
    promised_mib: int = 0,
    promised_bytes: Mapping[str, int] = MappingProxyType({}),
    forbidden: str = "",
    copy_disks: bool = False,
) -> Facts:
    """Ask both hosts, side by side. `promised_mib` of the destination's memory, and `promised_bytes` of its pools, are
    for others that are on their way; `forbidden` is what a placement rule says against it; with `copy_disks`, also what
    it takes to copy the disks that they do not share. Raises GuestNotFound when the source does not know the VM,
    HostUnreachable.

    It lasts as many round trips as it takes, so what is asked of one host is asked together.
    """
    uuid = str(vm.uuid)
    with ThreadPoolExecutor(1, thread_name_prefix="migrate-facts") as beside:
        of_destination = beside.submit(
            on_destination.together, lambda: (on_destination.list_guests(), on_destination.describe_host())
        )
        definition, needs = on_source.together(lambda: (on_source.guest_definition(uuid), on_source.guest_needs(uuid)))
        of_needs = beside.submit(on_destination.missing_for, needs)
        state, activity, snapshots, source_identity = on_source.together(
            lambda: (
                on_source.guest_state(uuid),
                on_source.activity(uuid),
                on_source.snapshots_export(uuid),
                on_source.identify_host(),
            )
        )
        path = HostPair.objects.filter(source=source, destination=destination).first()
        there, destination_facts = of_destination.result()
        lacks = of_needs.result()
    old = old_copies(writable(definition), destination, on_destination)
    local = [disk for disk in writable(definition) if copy_disks and not shared_how(disk, source, path, old)]
    return Facts(
        vm, source, destination, state, activity, definition, needs, there, source_identity, destination_facts, lacks,
        snapshots, promised_mib, path, forbidden,
        copies=read_copies(local, uuid, on_source, on_destination) if local else (), old_copies=old,
        promised_bytes=promised_bytes,
    )  # fmt: skip
