"""What can go wrong with a hypervisor, as facts that a job or a page can act on.

Each error has a stable `code`, a sentence for a person, and `retryable`: whether the same call may
succeed later with nothing changed by us.
"""

from __future__ import annotations


class HypervisorError(Exception):
    """The family. `str(error)` is one sentence for a person."""

    code = "hypervisor_error"
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class HostUnreachable(HypervisorError):
    """The host did not answer: no connection, or it broke, or its keepalive ran out. What it did is unknown."""

    code = "host_unreachable"
    retryable = True


class GuestNotFound(HypervisorError):
    """This host does not know that guest."""

    code = "guest_not_found"


class GuestExists(HypervisorError):
    """A guest of that name or UUID is there already."""

    code = "guest_exists"


class GuestBusy(HypervisorError):
    """The host is working on this guest (another job holds it)."""

    code = "guest_busy"
    retryable = True


class GuestStateInvalid(HypervisorError):
    """The guest's state does not allow that (start a running one, shut down one that is off)."""

    code = "guest_state_invalid"


class SnapshotNotFound(HypervisorError):
    """The guest has no snapshot of that name."""

    code = "snapshot_not_found"


class SnapshotExists(HypervisorError):
    """The guest has a snapshot of that name already."""

    code = "snapshot_exists"


class SnapshotFailed(HypervisorError):
    """Taking, reverting to or deleting a snapshot failed in the hypervisor."""

    code = "snapshot_failed"


class MigrationRefused(HypervisorError):
    """The hypervisor would not start this migration."""

    code = "migration_refused"


class MigrationAborted(HypervisorError):
    """The migration was cancelled on request; the guest should still run on the source."""

    code = "migration_aborted"


class MigrationFailed(HypervisorError):
    """The migration call failed. Where the guest is must be asked of both hosts."""

    code = "migration_failed"


class AgentUnavailable(HypervisorError):
    """The guest agent is absent, disconnected or does not answer."""

    code = "agent_unavailable"
    retryable = True


class AgentRefused(HypervisorError):
    """The guest agent answered that it will not do that."""

    code = "agent_refused"


class ConsoleTaken(HypervisorError):
    """Somebody has the guest's console open already, here or past Slipway."""

    code = "console_taken"
    retryable = True


class ConsoleEnded(HypervisorError):
    """The console is over: the guest stopped or left the host, or the host ended it."""

    code = "console_ended"


class NotSupported(HypervisorError):
    """This hypervisor, or its version, cannot do that."""

    code = "not_supported"


class OperationTimeout(HypervisorError):
    """The call did not come back in time. What it did is unknown."""

    code = "operation_timeout"
    retryable = True


class AccessDenied(HypervisorError):
    """The host refused our credentials."""

    code = "host_access_denied"
