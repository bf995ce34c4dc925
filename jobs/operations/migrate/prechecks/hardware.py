"""Whether the VM finds the same machine at the destination: hypervisor, machine type, CPU, firmware."""

from __future__ import annotations

from jobs.engine.context import Verdict
from jobs.operations.migrate.prechecks.facts import Facts

#: Passed on as it is: the guest sees the host's own CPU.
_PASSED_ON = frozenset({"host-passthrough", "maximum"})
#: libvirts that name the VMX features of a CPU, and the last that cannot read that (mended in 10.2).
_NAMING_VMX, _MENDED, _READING_VMX = (9, 10, 0), (10, 2, 0), (9, 10, 0)


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


def machine(facts: Facts) -> Verdict:
    """Its QEMU knows the machine type."""
    return Verdict(
        "machine",
        "See that the destination knows the machine type",
        not facts.lacks.machine,
        "machine_unknown",
        f"{facts.destination} cannot run the machine type {facts.needs.machine}: {facts.lacks.machine} Upgrade its "
        "QEMU, or give the VM a machine type that both hosts know.",
        found=facts.needs.machine,
    )


def cpu(facts: Facts) -> Verdict:
    """Its CPU has what the guest's needs; under software emulation every CPU has."""
    mode, lacks = facts.needs.cpu_mode, facts.lacks.cpu
    other = mode in _PASSED_ON and facts.definition.virt_type != "qemu" and not _same_cpu(facts)
    why = (
        f"{facts.vm} sees the CPU of its host ({mode}), and {facts.destination} has another one, or another QEMU; give "
        "it a CPU model that both have."
        if other
        else f"The CPU of {facts.destination} cannot take {facts.vm}: {lacks} Give the VM a CPU model that both have."
    )
    return Verdict(
        "cpu",
        "See that the destination's CPU can take the VM",
        not lacks and not other,
        "cpu_passed_through" if other else "cpu_incompatible",
        why,
        found=facts.definition.cpu_model,
    )


def cpu_features(facts: Facts) -> Verdict:
    """The destination's libvirt can read the CPU's description: some name what earlier ones do not know."""
    here, there = facts.source_identity.library_version, facts.destination_facts.library_version
    vmx = [feature for feature in facts.needs.cpu_features if feature.startswith("vmx-")]
    trapped = bool(vmx) and _NAMING_VMX <= here < _MENDED and there < _READING_VMX
    return Verdict(
        "cpu_features",
        "See that the destination's libvirt can read the CPU",
        not trapped,
        "vmx_features_unknown",
        f"libvirt {_dotted(here)} here names VMX features of the CPU that {_dotted(there)} on {facts.destination} does "
        "not know; upgrade libvirt there to 10.2 or later.",
    )


def firmware(facts: Facts) -> Verdict:
    """The firmware's image is there."""
    missing = facts.lacks.firmware
    return Verdict(
        "firmware",
        "See that the destination has the firmware",
        not missing,
        "firmware_missing",
        f"{facts.destination} does not list the firmware {missing}, as {facts.source} does; install its package there.",
        found=facts.needs.firmware,
    )


def _same_cpu(facts: Facts) -> bool:
    here, there = facts.source_identity, facts.destination_facts
    return (here.cpu_model, here.hypervisor_version) == (there.cpu_model, there.hypervisor_version)


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
