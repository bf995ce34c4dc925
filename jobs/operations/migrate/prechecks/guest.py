"""Whether the VM can leave the host where it is."""

from __future__ import annotations

from hypervisor.types import Activity, PowerState
from jobs.engine.context import Verdict
from jobs.operations.migrate.prechecks.facts import Facts

#: From this version on, QEMU keeps the dirty bitmap right under software emulation.
SAFE_EMULATION = (9, 0, 0)
#: Disk cache modes with which another host sees what was written.
SAFE_CACHES = frozenset({"none", "directsync", ""})


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


def disks_idle(facts: Facts) -> Verdict:
    """No disk is being copied or merged."""
    return Verdict(
        "disks_idle",
        "See that no disk is being copied or merged",
        not facts.needs.busy_disks,
        "block_job",
        f"{facts.source} is copying or merging {', '.join(facts.needs.busy_disks)} of {facts.vm}; wait until that is "
        "over, or end it (virsh blockjob --abort).",
    )


def saved(facts: Facts) -> Verdict:
    """No saved state of an earlier run is kept, which would stay behind."""
    return Verdict(
        "saved",
        "See that no saved state would stay behind",
        not facts.definition.has_managed_save,
        "managed_save",
        f"{facts.source} keeps a saved state of {facts.vm}, which does not travel; remove it first (virsh "
        "managedsave-remove).",
    )


def devices(facts: Facts) -> Verdict:
    """Nothing that is tied to this host, by libvirt's own rules."""
    tied = facts.needs.ties
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
