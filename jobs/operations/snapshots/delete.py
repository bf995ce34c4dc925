"""`snapshot.delete`: the VM and its other snapshots stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from access.actions import Action
from access.gate import Actor
from inventory.models import VM
from inventory.snapshot_marks import snapshot_forgotten
from inventory.syncing import vm_details_read
from jobs.engine.context import Verdict
from jobs.errors import NotAdmitted, OperationFailed
from jobs.operations.base import Operation
from jobs.operations.params import only, text
from jobs.operations.power import refuse_unsettled
from jobs.operations.snapshots.acts import snapshot_remove
from jobs.operations.snapshots.checks import exists, idle, listed, refuse_unknown_snapshot

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


class SnapshotDelete(Operation):
    """Delete a snapshot; the VM and its other snapshots stay."""

    name = "snapshot.delete"
    label = "Delete snapshot of"
    action = Action.DELETE_SNAPSHOT

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "snapshot")
        return {"snapshot": text(params, "snapshot", longest=255)}

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        if refuse_unknown_snapshot(target, params["snapshot"]).is_baseline:
            raise NotAdmitted("baseline_protected", _kept(target, params["snapshot"]))

    def precheck(self, context: JobContext) -> None:
        connection = context.on(context.home())
        info = listed(connection.list_snapshots(context.uuid), context.params["snapshot"])
        context.verdicts(
            [exists(context, info), idle(context.vm, connection.activity(context.uuid)), *_still_to_go(context)]
        )

    def execute(self, context: JobContext) -> None:
        snapshot_remove(context, context.home(), context.params["snapshot"])

    def verify(self, context: JobContext) -> None:
        host, name = context.home(), context.params["snapshot"]
        with context.step("verify", "See that it is gone"):
            if listed(context.on(host).list_snapshots(context.uuid), name):
                raise OperationFailed("snapshot_still_there", f"The host still lists “{name}”.")
            snapshot_forgotten(context.vm, name)
            vm_details_read(context.vm, context.on(host))


def _still_to_go(context: JobContext) -> list[Verdict]:
    """Asked again now that the VM is this job's: what was said of the snapshot while it was admitted or waited holds.
    Nobody but its end asks for what Slipway deletes by itself.
    """
    vm, name, now = context.vm, context.params["snapshot"], timezone.now()
    row = vm.snapshots.filter(name=name).first()
    is_baseline = row is not None and row.is_baseline
    found = [
        Verdict("no_baseline", "See that it is no baseline", not is_baseline, "baseline_protected", _kept(vm, name))
    ]
    if context.job.requested_by is None:
        is_over = row is not None and row.expires_at is not None and row.expires_at <= now
        why = f"Somebody has said meanwhile that “{name}” stays."
        found.append(Verdict("is_over", "See that its time is over", is_over, "snapshot_kept", why))
    return found


def _kept(vm: VM, name: str) -> str:
    return f"“{name}” is the baseline of {vm}; it is kept."
