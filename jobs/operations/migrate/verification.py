"""What must be true after a migration, by the hosts themselves: named verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypervisor.types import GuestDefinition, GuestState, PowerState
from inventory.models import VM, Host
from jobs.engine.context import Verdict

#: A guest's processors run so often at least before it is taken to live: once could be QEMU's own doing.
BEATS = 3
#: How long that may take, in seconds. An idle guest wakes up some times a second.
LIVES_WITHIN = 15.0


@dataclass
class Pulse:
    """Asks for a guest's pulse again and again; true once it has grown `BEATS` times since the first answer."""

    ask: Callable[[], int]
    last: int | None = None
    beats: int = -1

    def __call__(self) -> bool | None:
        found = self.ask()
        if self.last is None or found > self.last:
            self.beats += 1
        self.last = found
        return self.beats >= BEATS or None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found at the destination, and what was journalled before."""

    vm: VM
    source: Host
    destination: Host
    state: GuestState
    definition: GuestDefinition
    still_at_source: bool
    lives: bool
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
        "See that the guest's processors run",
        outcome.lives,
        "guest_not_alive",
        f"{outcome.vm} runs by its state, but its processors did not run once in {LIVES_WITHIN:.0f} s.",
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
