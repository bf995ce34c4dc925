"""libvirt's numbers for states, reasons, jobs and events, in our words. Numbers: libvirt's `libvirt-domain.h`."""

from __future__ import annotations

from types import MappingProxyType

import libvirt

from hypervisor.types import Activity, EventKind, PowerState, StateReason

_POWER = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_NOSTATE: PowerState.UNKNOWN,
        libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
        libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
        libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
        # The guest has shut down and its process is about to end; until then it can neither be started nor moved.
        libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
        libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUT_OFF,
        libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
        libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
    }
)

_RUNNING = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_RUNNING_BOOTED: StateReason.BOOTED,
        libvirt.VIR_DOMAIN_RUNNING_MIGRATED: StateReason.MIGRATED,
        libvirt.VIR_DOMAIN_RUNNING_FROM_SNAPSHOT: StateReason.FROM_SNAPSHOT,
        libvirt.VIR_DOMAIN_RUNNING_UNPAUSED: StateReason.UNPAUSED,
        libvirt.VIR_DOMAIN_RUNNING_MIGRATION_CANCELED: StateReason.MIGRATION_CANCELED,
        libvirt.VIR_DOMAIN_RUNNING_SAVE_CANCELED: StateReason.SAVE_CANCELED,
        libvirt.VIR_DOMAIN_RUNNING_POSTCOPY: StateReason.POSTCOPY,
        libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED: StateReason.POSTCOPY_FAILED,
    }
)
_PAUSED = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_PAUSED_USER: StateReason.USER,
        libvirt.VIR_DOMAIN_PAUSED_MIGRATION: StateReason.MIGRATION,
        libvirt.VIR_DOMAIN_PAUSED_SAVE: StateReason.SAVE,
        libvirt.VIR_DOMAIN_PAUSED_IOERROR: StateReason.IO_ERROR,
        libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT: StateReason.FROM_SNAPSHOT,
        libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN: StateReason.SHUTDOWN,
        libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT: StateReason.SNAPSHOT,
        libvirt.VIR_DOMAIN_PAUSED_CRASHED: StateReason.CRASHED,
        libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: StateReason.POSTCOPY,
        libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: StateReason.POSTCOPY_FAILED,
    }
)
_SHUT_OFF = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: StateReason.SHUTDOWN,
        libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: StateReason.DESTROYED,
        libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: StateReason.CRASHED,
        libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: StateReason.MIGRATED,
        libvirt.VIR_DOMAIN_SHUTOFF_SAVED: StateReason.SAVE,
        libvirt.VIR_DOMAIN_SHUTOFF_FAILED: StateReason.FAILED,
        libvirt.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT: StateReason.FROM_SNAPSHOT,
    }
)
_REASONS = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_RUNNING: _RUNNING,
        libvirt.VIR_DOMAIN_PAUSED: _PAUSED,
        libvirt.VIR_DOMAIN_SHUTOFF: _SHUT_OFF,
    }
)

#: What a running job of the host means to us, by `VIR_DOMAIN_JOB_OPERATION_*`.
_ACTIVITIES = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: Activity.MIGRATION_OUT,
        libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: Activity.MIGRATION_IN,
        libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: Activity.SNAPSHOT,
        libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: Activity.SNAPSHOT,
        libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE: Activity.SNAPSHOT,
    }
)

#: Lifecycle events: our kind, and libvirt's names for the detail number, by its position.
_LIFECYCLE: MappingProxyType[int, tuple[EventKind, tuple[str, ...]]] = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_EVENT_DEFINED: (
            EventKind.DEFINED,
            ("added", "updated", "renamed", "from_snapshot"),
        ),
        libvirt.VIR_DOMAIN_EVENT_UNDEFINED: (EventKind.UNDEFINED, ("removed", "renamed")),
        libvirt.VIR_DOMAIN_EVENT_STARTED: (
            EventKind.STARTED,
            ("booted", "migrated", "restored", "from_snapshot", "wakeup"),
        ),
        libvirt.VIR_DOMAIN_EVENT_SUSPENDED: (
            EventKind.SUSPENDED,
            (
                "paused",
                "migrated",
                "io_error",
                "watchdog",
                "restored",
                "from_snapshot",
                "api_error",
                "postcopy",
                "postcopy_failed",
            ),
        ),
        libvirt.VIR_DOMAIN_EVENT_RESUMED: (
            EventKind.RESUMED,
            ("unpaused", "migrated", "from_snapshot", "postcopy", "postcopy_failed"),
        ),
        libvirt.VIR_DOMAIN_EVENT_STOPPED: (
            EventKind.STOPPED,
            ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from_snapshot"),
        ),
        libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: (
            EventKind.OTHER,
            ("shutdown_finished", "shutdown_by_guest", "shutdown_by_host"),
        ),
        libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: (EventKind.SUSPENDED, ("sleep", "sleep_to_disk")),
        libvirt.VIR_DOMAIN_EVENT_CRASHED: (EventKind.CRASHED, ("panicked", "crash_loaded")),
    }
)


def power_state(state: int) -> PowerState:
    """Our word for a `virDomainState`."""
    return _POWER.get(state, PowerState.UNKNOWN)


def state_reason(state: int, reason: int) -> StateReason:
    """Our word for a reason; libvirt numbers them for each state anew."""
    if state == libvirt.VIR_DOMAIN_SHUTDOWN:
        return StateReason.SHUTDOWN
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return StateReason.CRASHED
    return _REASONS[state].get(reason, StateReason.OTHER) if state in _REASONS else StateReason.OTHER


def job_activity(job_type: int, operation: int) -> Activity:
    """Our word for the job that `virDomainGetJobStats` reports as running."""
    if job_type not in (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED):
        return Activity.NONE
    return _ACTIVITIES.get(operation, Activity.OTHER)


def lifecycle(event: int, detail: int) -> tuple[EventKind, str]:
    """Our kind and libvirt's name of the detail of a lifecycle event."""
    kind, names = _LIFECYCLE.get(event, (EventKind.OTHER, ()))
    return kind, names[detail] if 0 <= detail < len(names) else ""
