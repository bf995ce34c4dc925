"""Where the VM is, by what both hosts say. One pure decision table; each line is a situation that was met in practice.

S is the source, D the destination; see the table in `docs/migration.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hypervisor.types import Activity, PowerState, StateReason


class Presence(StrEnum):
    """Whether a host could be asked, and knows the VM."""

    HERE = "here"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Sight:
    """What one host says."""

    presence: Presence
    state: PowerState = PowerState.UNKNOWN
    reason: StateReason = StateReason.OTHER
    activity: Activity = Activity.NONE

    @property
    def runs(self) -> bool:
        return self.presence is Presence.HERE and self.state is PowerState.RUNNING

    @property
    def waits(self) -> bool:
        """Paused for a migration: incoming, or in stop-and-copy."""
        return (
            self.presence is Presence.HERE and self.state is PowerState.PAUSED and self.reason is StateReason.MIGRATION
        )

    @property
    def has_left(self) -> bool:
        return self.presence is Presence.ABSENT or (
            self.state is PowerState.SHUT_OFF and self.reason is StateReason.MIGRATED
        )


class Truth(StrEnum):
    """What the two sights come to."""

    IN_PROGRESS = "in_progress"  # watch it
    ARRIVED = "arrived"  # it runs on D, and only there
    STAYED = "stayed"  # it runs on S, and only there
    LEFTOVER_DESTINATION = (
        "leftover_destination"  # S runs, D holds the shell of a migration that ended: remove the shell
    )
    LEFTOVER_SOURCE = "leftover_source"  # D runs, S is the paused rest: remove the rest
    STRANDED_SOURCE = "stranded_source"  # paused on S, nowhere else: let it run on
    STRANDED_BOTH = "stranded_both"  # paused on both, nobody works: remove D, let S run on
    POSTCOPY = "postcopy"  # cannot be undone: wait
    POSTCOPY_FAILED = "postcopy_failed"  # touch neither side
    STOPPED = "stopped"  # the guest went off or crashed meanwhile
    SPLIT = "split"  # runs on both: a person decides
    VANISHED = "vanished"  # neither host knows it: define it again, do not start it
    UNKNOWN = "unknown"  # a host does not answer: touch nothing


def truth(source: Sight, destination: Sight) -> Truth:
    """Decide. Total: every pair of sights has an answer, and only certain ones lead to an effect."""
    if Presence.UNREACHABLE in (source.presence, destination.presence):
        return Truth.UNKNOWN
    if _any_reason(source, destination, StateReason.POSTCOPY_FAILED):
        return Truth.POSTCOPY_FAILED
    if _any_reason(source, destination, StateReason.POSTCOPY):
        return Truth.POSTCOPY
    if source.activity is Activity.MIGRATION_OUT:
        return Truth.IN_PROGRESS
    if source.runs and destination.runs:
        return Truth.SPLIT
    if destination.runs:
        return _destination_runs(source)
    if source.runs:
        return Truth.LEFTOVER_DESTINATION if destination.waits else Truth.STAYED
    if source.waits:
        if destination.presence is Presence.ABSENT:
            return Truth.STRANDED_SOURCE
        return Truth.STRANDED_BOTH if destination.waits else Truth.UNKNOWN
    if source.presence is Presence.ABSENT and destination.presence is Presence.ABSENT:
        return Truth.VANISHED
    return Truth.STOPPED


def _destination_runs(source: Sight) -> Truth:
    if source.has_left:
        return Truth.ARRIVED
    if source.waits:
        return Truth.LEFTOVER_SOURCE
    # Off on the source for another reason, and running on the destination: the definition was left behind.
    return Truth.ARRIVED if source.state is PowerState.SHUT_OFF else Truth.UNKNOWN


def _any_reason(source: Sight, destination: Sight, reason: StateReason) -> bool:
    return any(sight.presence is Presence.HERE and sight.reason is reason for sight in (source, destination))
