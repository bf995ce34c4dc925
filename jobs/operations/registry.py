"""The operations there are, by name."""

from __future__ import annotations

from jobs.errors import InvalidRequest
from jobs.operations.base import Operation
from jobs.operations.definition import RestoreDefinition
from jobs.operations.hosts import Activate, Drain, ProvePaths, RemoveLeftovers
from jobs.operations.migrate import Migrate, MigratePreview
from jobs.operations.patch import Patch
from jobs.operations.power import ForceOff, Reboot, Shutdown, Start
from jobs.operations.rebalance import Rebalance
from jobs.operations.snapshots import SnapshotCreate, SnapshotDelete, SnapshotRevert

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Start(),
        Shutdown(),
        Reboot(),
        ForceOff(),
        SnapshotCreate(),
        SnapshotRevert(),
        SnapshotDelete(),
        Migrate(),
        MigratePreview(),
        Patch(),
        RestoreDefinition(),
        Drain(),
        Activate(),
        ProvePaths(),
        Rebalance(),
        RemoveLeftovers(),
    )
}


def operation_named(name: str) -> Operation:
    """The operation of that name. Raises InvalidRequest."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise InvalidRequest(f"There is no operation “{name[:60]}”.", field="operation")
    return operation
