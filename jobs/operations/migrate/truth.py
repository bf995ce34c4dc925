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
    persistent: bool = True

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

    @property
    def is_off(self) -> bool:
        """Defined here, and without a QEMU."""
        return self.presence is Presence.HERE and self.state in (PowerState.SHUT_OFF, PowerState.CRASHED)

    @property
    def gives(self) -> bool:
        """The source's half of a post-copy: the guest runs elsewhere, and misses memory that is here."""
        return self.presence is Presence.HERE and self.state is PowerState.PAUSED and self.reason in _HALVES

    @property
    def takes(self) -> bool:
        """The destination's half of a post-copy: the guest is here, and misses memory."""
        return self.presence is Presence.HERE and not self.is_off and self.reason in _HALVES

    @property
    def has_died(self) -> bool:
        """Its QEMU ended here by itself, or was killed; it did not leave."""
        return self.is_off and self.reason in _DEATHS


_HALVES = (StateReason.POSTCOPY, StateReason.POSTCOPY_FAILED)
_DEATHS = (StateReason.CRASHED, StateReason.FAILED, StateReason.DESTROYED, StateReason.SHUTDOWN)


class Truth(StrEnum):
    """What the two sights come to."""

    IN_PROGRESS = "in_progress"  # watch it
    ARRIVED = "arrived"  # it runs on D, and only there
    STAYED = "stayed"  # it runs on S, and only there
    LEFTOVER_DESTINATION = "leftover_destination"  # S has it, D the shell of a migration that ended: remove the shell
    LEFTOVER_SOURCE = "leftover_source"  # D runs, S is the paused rest: remove the rest
    LEFTOVER_DEFINITION = "leftover_definition"  # D runs, S is off but defined: remove the definition at S
    LEFTOVER_COPY = "leftover_copy"  # S has it, D is off and keeps a definition of it: remove that
    STRANDED_SOURCE = "stranded_source"  # paused on S, nowhere else: let it run on
    STRANDED_BOTH = "stranded_both"  # paused on both, nobody works: remove D, let S run on
    POSTCOPY = "postcopy"  # cannot be undone: wait
    POSTCOPY_FAILED = "postcopy_failed"  # both halves are there: connect them again, touch nothing else
    LOST_AT_SOURCE = "lost_at_source"  # the half at S is gone, so the guest is: switch the other off
    LOST_AT_DESTINATION = "lost_at_destination"  # likewise, the half at D
    STOPPED = "stopped"  # the guest went off or crashed meanwhile
    SPLIT = "split"  # runs on both: a person decides
    VANISHED = "vanished"  # neither host knows it: define it again, do not start it
    UNKNOWN = "unknown"  # a host does not answer, or says what nobody foresaw: touch nothing


def truth(source: Sight, destination: Sight) -> Truth:
    """Decide. Total: every pair of sights has an answer, and only certain ones lead to an effect."""
    if Presence.UNREACHABLE in (source.presence, destination.presence):
        return Truth.UNKNOWN
    # libvirt keeps the job of a post-copy that broke off, for who goes on with it.
    broke_off = source.gives and source.reason is StateReason.POSTCOPY_FAILED
    if source.activity is Activity.MIGRATION_OUT and not broke_off:
        return Truth.POSTCOPY if source.gives else Truth.IN_PROGRESS
    if source.runs and destination.runs:
        return Truth.SPLIT
    if source.gives or (destination.takes and not source.runs):
        return _postcopy(source, destination)
    if source.activity is not Activity.NONE:
        return Truth.UNKNOWN  # the host works on it, or could not say
    if destination.runs:
        return _destination_runs(source, destination)
    if source.runs:
        return _source_runs(destination)
    if source.waits:
        if destination.presence is Presence.ABSENT:
            return Truth.STRANDED_SOURCE
        return Truth.STRANDED_BOTH if destination.waits else Truth.UNKNOWN
    return _neither_runs(source, destination)


def _postcopy(source: Sight, destination: Sight) -> Truth:
    """From the switch to post-copy on, the guest runs at the destination, and each side has memory that the other
    lacks. What a host works on does not matter then: a half that hangs looks busy.
    """
    if source.gives and destination.takes:
        broken = StateReason.POSTCOPY_FAILED in (source.reason, destination.reason)
        return Truth.POSTCOPY_FAILED if broken else Truth.POSTCOPY
    if source.gives:
        if destination.runs and destination.reason is StateReason.MIGRATED:
            return Truth.LEFTOVER_SOURCE  # it got everything, and nobody told the source
        gone = destination.presence is Presence.ABSENT or destination.is_off
        return Truth.LOST_AT_DESTINATION if gone else Truth.UNKNOWN
    if source.has_left:
        # The source lets go only of what has arrived; a daemon that was restarted then has not heard of it.
        arrived = destination.runs and destination.activity is Activity.NONE
        return Truth.ARRIVED if arrived else Truth.POSTCOPY
    return Truth.LOST_AT_SOURCE if source.has_died else Truth.UNKNOWN


def _source_runs(destination: Sight) -> Truth:
    if destination.waits:
        return Truth.LEFTOVER_DESTINATION
    # The checks before the migration found nothing of it there.
    if destination.is_off:
        return Truth.LEFTOVER_COPY
    return Truth.STAYED if destination.presence is Presence.ABSENT else Truth.UNKNOWN


def _destination_runs(source: Sight, destination: Sight) -> Truth:
    if source.waits:
        return Truth.LEFTOVER_SOURCE
    # A daemon that was restarted meanwhile switches the source off and leaves its definition there. It goes only where
    # the destination has one: else it is all that there is beyond the guest's run.
    if source.is_off and destination.persistent:
        return Truth.LEFTOVER_DEFINITION
    return Truth.ARRIVED if source.has_left or source.is_off else Truth.UNKNOWN


def _neither_runs(source: Sight, destination: Sight) -> Truth:
    if source.has_left:
        if destination.waits:
            return Truth.UNKNOWN  # the shell would be all that there is
        nowhere = Presence.ABSENT is source.presence is destination.presence
        return Truth.VANISHED if nowhere else Truth.STOPPED
    if destination.waits:
        return Truth.LEFTOVER_DESTINATION
    return Truth.LEFTOVER_COPY if source.is_off and destination.is_off else Truth.STOPPED
