"""Whether the VM can leave the host where it is."""

from __future__ import annotations

from hypervisor.types import Activity, PowerState
from jobs.engine.context import Verdict
from jobs.operations.migrate.prechecks.facts import Facts

#: From this version on, QEMU keeps the dirty bitmap right under software emulation.
SAFE_EMULATION = (9, 0, 0)


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
