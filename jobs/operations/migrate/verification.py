"""What must be true after a migration, by the hosts themselves: named verdicts."""

from __future__ import annotations

from dataclasses import dataclass

from hypervisor.types import GuestDefinition, GuestState, PowerState
from inventory.models import VM, Host
from jobs.engine.context import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found at the destination, and what was journalled before."""

    vm: VM
    source: Host
    destination: Host
    state: GuestState
    definition: GuestDefinition
    still_at_source: bool
    cpu_time_grows: bool
    disk_errors: list[str]
    listed: set[str]
    expected: set[str]
    persistent_before: bool
    autostart_before: bool


def verdicts(outcome: Outcome) -> list[Verdict]:
    """All checks of the result."""
    return [
        runs(outcome),
        left(outcome),
        persistent(outcome),
        alive(outcome),
        disks(outcome),
        snapshots(outcome),
        autostart(outcome),
    ]


def runs(outcome: Outcome) -> Verdict:
    """It runs there."""
    return Verdict(
        "runs",
        "See that the VM runs at the destination",
        outcome.state.state is PowerState.RUNNING,
        "wrong_end_state",
        f"{outcome.vm} is {outcome.state.state.value} at {outcome.destination}.",
        found=outcome.state.reason.value,
    )


def left(outcome: Outcome) -> Verdict:
    """It is no longer here."""
    return Verdict(
        "left",
        "See that the source let it go",
        not outcome.still_at_source,
        "still_at_source",
        f"{outcome.source} still has a definition of {outcome.vm}.",
    )


def persistent(outcome: Outcome) -> Verdict:
    """It survives being switched off, if it did before."""
    return Verdict(
        "persistent",
        "See that it is defined as before",
        outcome.definition.persistent == outcome.persistent_before,
        "not_persistent",
        f"{outcome.vm} would vanish when it is switched off; define it at {outcome.destination}.",
    )


def alive(outcome: Outcome) -> Verdict:
    """It is not merely said to run."""
    return Verdict(
        "alive",
        "See that the guest gets CPU time",
        outcome.cpu_time_grows,
        "guest_not_alive",
        f"{outcome.vm} runs by its state, but its CPU time stands still.",
    )


def disks(outcome: Outcome) -> Verdict:
    """Its disks are well."""
    return Verdict(
        "disks_well",
        "See that no disk reports an error",
        not outcome.disk_errors,
        "disk_errors",
        f"Disks report errors: {', '.join(outcome.disk_errors)}.",
    )


def snapshots(outcome: Outcome) -> Verdict:
    """Every snapshot came along."""
    missing = sorted(outcome.expected - outcome.listed)
    return Verdict(
        "snapshots",
        "See that every snapshot came along",
        not missing,
        "snapshots_lost",
        f"Missing at {outcome.destination}: {', '.join(missing)}. Their data is in the images.",
        found=f"{len(outcome.expected)}",
    )


def autostart(outcome: Outcome) -> Verdict:
    """It starts with its host, if it did before."""
    return Verdict(
        "autostart",
        "See that autostart is as before",
        outcome.definition.autostart == outcome.autostart_before,
        "autostart_lost",
        f"Autostart of {outcome.vm} is not as it was.",
    )
