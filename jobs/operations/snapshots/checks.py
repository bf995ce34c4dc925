"""What must hold before work on a snapshot begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypervisor.types import Activity, PowerState, SnapshotInfo
from inventory.models import VM, Snapshot
from jobs.engine.context import Verdict
from jobs.errors import NotAdmitted

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

#: In these states a VM can be saved.
STEADY = (PowerState.RUNNING, PowerState.SHUT_OFF)


def refuse_unknown_snapshot(vm: VM, name: str) -> Snapshot:
    """The observed snapshot of that name. Raises NotAdmitted."""
    row = vm.snapshots.filter(name=name, missing_since=None).first()
    if row is None:
        raise NotAdmitted("snapshot_not_found", f"{vm} has no snapshot “{name}”.")
    return row


def listed(snapshots: list[SnapshotInfo], name: str) -> SnapshotInfo | None:
    return next((info for info in snapshots if info.name == name), None)


def exists(context: JobContext, info: SnapshotInfo | None) -> Verdict:
    name = context.params["snapshot"]
    return Verdict(
        "exists",
        "See that the snapshot is there",
        info is not None,
        "snapshot_not_found",
        f"{context.vm} has no snapshot “{name}”.",
    )


def steady(vm: VM, state: PowerState) -> Verdict:
    return Verdict(
        "steady",
        "See that the VM is running or off",
        state in STEADY,
        "wrong_power_state",
        f"{vm} is {state.value}; it must be running or off.",
        found=state.value,
    )


def idle(vm: VM, activity: Activity) -> Verdict:
    return Verdict(
        "idle",
        "See that the host runs no job on the VM",
        activity is Activity.NONE,
        "vm_busy_on_host",
        f"The host is working on {vm} ({activity.value}); somebody started that outside Slipway.",
    )
