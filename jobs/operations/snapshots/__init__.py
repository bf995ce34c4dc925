"""Snapshots: take, go back, delete. `acts` does each of it so that it may be entered again after a crash."""

from jobs.operations.snapshots.acts import revert_proved, safety_noted, snapshot_go_back, snapshot_take
from jobs.operations.snapshots.create import SnapshotCreate
from jobs.operations.snapshots.delete import SnapshotDelete
from jobs.operations.snapshots.revert import SnapshotRevert

__all__ = [
    "SnapshotCreate",
    "SnapshotDelete",
    "SnapshotRevert",
    "revert_proved",
    "safety_noted",
    "snapshot_go_back",
    "snapshot_take",
]
