"""What must hold before a migration starts: named verdicts, each with what to do about it. Live and read-only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hypervisor.protocol import Hypervisor
from hypervisor.types import Activity, GuestDefinition, GuestState, HostFacts, HostIdentity, PowerState, SavedSnapshot
from inventory.models import VM, Host
from jobs.engine.context import Verdict

#: What QEMU needs beside the guest's memory, in MiB (an ordinary figure for x86 guests without devices of their own).
OVERHEAD_MIB = 256
#: From this version on, QEMU keeps the dirty bitmap right under software emulation.
SAFE_EMULATION = (9, 0, 0)
#: Disk cache modes with which another host sees what was written.
SAFE_CACHES = frozenset({"none", "directsync", ""})


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the checks look at, read once from both hosts."""

    vm: VM
    source: Host
    destination: Host
    state: GuestState
    activity: Activity
    definition: GuestDefinition
    there: list[GuestState]
    source_identity: HostIdentity
    destination_facts: HostFacts
    missing_networks: list[str]
    snapshots: list[SavedSnapshot]
    promised_mib: int
    forbidden: str


def read_facts(
    vm: VM,
    source: Host,
    destination: Host,
    on_source: Hypervisor,
    on_destination: Hypervisor,
    *,
    promised_mib: int = 0,
    forbidden: str = "",
) -> Facts:
    """Ask both hosts, side by side; `promised_mib` of the destination's memory is for others that are on their way,
    `forbidden` is what a placement rule says against it. Raises GuestNotFound when the source does not know the VM,
    HostUnreachable.

    It lasts as many round trips as it takes, so what is asked of one host is asked together.
    """
    uuid = str(vm.uuid)
    with ThreadPoolExecutor(1, thread_name_prefix="migrate-facts") as beside:
        of_destination = beside.submit(
            on_destination.together, lambda: (on_destination.list_guests(), on_destination.describe_host())
        )
        definition = on_source.guest_definition(uuid)
        of_networks = beside.submit(on_destination.missing_networks, definition.nics)
        state, activity, snapshots, source_identity = on_source.together(
            lambda: (
                on_source.guest_state(uuid),
                on_source.activity(uuid),
                on_source.snapshots_export(uuid),
                on_source.identify_host(),
            )
        )
        there, destination_facts = of_destination.result()
        missing_networks = of_networks.result()
    return Facts(
        vm=vm,
        source=source,
        destination=destination,
        state=state,
        activity=activity,
        definition=definition,
        there=there,
        source_identity=source_identity,
        destination_facts=destination_facts,
        missing_networks=missing_networks,
        snapshots=snapshots,
        promised_mib=promised_mib,
        forbidden=forbidden,
    )


def verdicts(facts: Facts) -> list[Verdict]:
    """All checks, cheap ones first."""
    return [
        taking(facts),
        rules(facts),
        identity(facts),
        name_free(facts),
        steady(facts),
        idle(facts),
        devices(facts),
        storage(facts),
        emulation(facts),
        versions(facts),
        networks(facts),
        capacity(facts),
    ]


def taking(facts: Facts) -> Verdict:
    """The destination takes VMs; it did when this was asked for."""
    return Verdict(
        "taking",
        "See that the destination takes VMs",
        not facts.destination.in_maintenance,
        "host_in_maintenance",
        f"{facts.destination} is in maintenance by now and takes no VMs.",
    )


def rules(facts: Facts) -> Verdict:
    """No placement rule keeps the VM from the destination, with what runs there or is on its way by now."""
    return Verdict(
        "rules", "See that no placement rule forbids it", not facts.forbidden, "placement_rule", facts.forbidden
    )


def identity(facts: Facts) -> Verdict:
    """The two hosts are two, and the destination has no trace of the VM."""
    same = facts.source_identity.host_uuid == facts.destination_facts.host_uuid
    stale = any(guest.uuid == facts.state.uuid for guest in facts.there)
    why = (
        f"{facts.source} and {facts.destination} are the same machine."
        if same
        else f"{facts.destination} already has a definition of {facts.vm}, which a migration would overwrite; "
        "remove it there first."
    )
    code = "same_host" if same else "stale_definition"
    return Verdict("identity", "See that the destination has no trace of the VM", not same and not stale, code, why)


def name_free(facts: Facts) -> Verdict:
    """No other VM of that name at the destination."""
    clash = any(guest.name == facts.state.name and guest.uuid != facts.state.uuid for guest in facts.there)
    return Verdict(
        "name_free",
        "See that the name is free at the destination",
        not clash,
        "name_taken",
        f"{facts.destination} has another VM named {facts.state.name}; rename one of them.",
    )


def steady(facts: Facts) -> Verdict:
    """The VM runs."""
    return Verdict(
        "steady",
        "See that the VM runs",
        facts.state.state is PowerState.RUNNING,
        "vm_not_running",
        f"{facts.vm} is {facts.state.state.value}; only a running VM migrates live.",
        found=facts.state.reason.value,
    )


def idle(facts: Facts) -> Verdict:
    """The host works on nothing else for this VM."""
    return Verdict(
        "idle",
        "See that the host runs no job on the VM",
        facts.activity is Activity.NONE,
        "vm_busy_on_host",
        f"{facts.source} is working on {facts.vm} ({facts.activity.value}), started outside Slipway; wait for it.",
    )


def devices(facts: Facts) -> Verdict:
    """No device that is tied to this host."""
    tied = [*facts.definition.hostdevs, *facts.definition.filesystems]
    return Verdict(
        "devices",
        "See that no device is tied to the host",
        not tied,
        "device_tied",
        f"{', '.join(tied)} cannot leave {facts.source}; detach it first.",
    )


def storage(facts: Facts) -> Verdict:
    """Every writable disk is on the cluster's shared storage, with a cache mode that other hosts can follow."""
    writable = [disk for disk in facts.definition.disks if disk.source and not disk.read_only]
    local = writable if not facts.source.cluster.shared_storage else []
    cached = [disk.target for disk in writable if disk.source_kind == "file" and disk.cache not in SAFE_CACHES]
    if local:
        left = ", ".join(disk.target for disk in local)
        why = f"The cluster {facts.source.cluster} has no shared storage; {left} would stay behind."
    else:
        why = f"Disk {', '.join(cached)} is cached on {facts.source}; set its cache to “none” and restart the VM."
    return Verdict(
        "storage",
        "See that both hosts share every disk",
        not local and not cached,
        "storage_not_shared" if local else "disk_cached",
        why,
        found=f"{len(writable)} disks, shared by the cluster's declaration",
    )


def emulation(facts: Facts) -> Verdict:
    """Emulated guests lose memory writes in pre-copy on QEMU before 9.0, unless their kernel flushes the TLB at each
    entry.
    """
    emulated = facts.definition.virt_type == "qemu"
    version = facts.source_identity.hypervisor_version
    guarded = "pti=on" in facts.definition.kernel_cmdline.split()
    return Verdict(
        "emulation",
        "See that no memory write is lost under software emulation",
        not emulated or version >= SAFE_EMULATION or guarded,
        "emulation_unsafe",
        f"{facts.vm} runs under software emulation on QEMU {'.'.join(map(str, version))}, which loses memory writes "
        "while it copies; boot its kernel with pti=on, or use QEMU 9.0.",
        found="emulated, kernel with pti=on" if emulated and guarded else facts.definition.virt_type,
    )


def versions(facts: Facts) -> Verdict:
    """The destination's hypervisor is not older."""
    here, there = facts.source_identity.hypervisor_version, facts.destination_facts.hypervisor_version
    return Verdict(
        "versions",
        "See that the destination's hypervisor is not older",
        there >= here,
        "hypervisor_older",
        f"{facts.destination} runs {'.'.join(map(str, there))}, older than {'.'.join(map(str, here))} here; upgrade "
        "it first.",
        found=".".join(map(str, there)),
    )


def networks(facts: Facts) -> Verdict:
    """Every NIC finds its network there."""
    missing = facts.missing_networks
    return Verdict(
        "networks",
        "See that the destination has the VM's networks",
        not missing,
        "network_missing",
        f"{facts.destination} has no network {', '.join(missing)}; define it there first.",
        found=", ".join(sorted({nic.source for nic in facts.definition.nics})),
    )


def capacity(facts: Facts) -> Verdict:
    """Free memory there, less what the host keeps and what was promised to VMs that were asked for earlier."""
    needed = facts.state.memory_mib + OVERHEAD_MIB
    free = facts.destination_facts.memory_free_mib - facts.destination.reserved_mib - facts.promised_mib
    return Verdict(
        "capacity",
        "See that the destination has the memory",
        free >= needed,
        "memory_short",
        f"{facts.destination} has {max(free, 0)} MiB left for VMs; {facts.vm} needs {needed} MiB.",
        found=f"{free} MiB left, {needed} MiB needed",
    )
