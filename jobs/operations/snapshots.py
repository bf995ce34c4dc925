"""Snapshots: take, go back, delete."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from access.actions import Action
from access.gate import Actor
from hypervisor.errors import SnapshotNotFound
from hypervisor.names import snapshot_name_problem
from hypervisor.types import Activity, PowerState, SnapshotInfo, StateReason
from inventory.approved import job_brought
from inventory.models import VM, Host, Snapshot
from inventory.snapshot_marks import described, snapshot_baseline_set, snapshot_forgotten
from inventory.syncing import guest_read, vm_details_read
from jobs.engine.context import Verdict
from jobs.errors import InvalidRequest, NotAdmitted, OperationFailed
from jobs.operations.base import Operation
from jobs.operations.params import boolean, only, text
from jobs.operations.power import refuse_unsettled

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

#: Paused by a save, with no job left on the host: the trace of a daemon that died while it took a snapshot.
STUCK_REASONS = frozenset({StateReason.SAVE, StateReason.SNAPSHOT})


class SnapshotCreate(Operation):
    """Take a snapshot: disks, and memory of a running VM, which stands still meanwhile."""

    name = "snapshot.create"
    label = "Snapshot"
    action = Action.SNAPSHOT

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "name", "description", "baseline")
        name = text(params, "name", default="", longest=100)
        problem = snapshot_name_problem(name) if name else ""
        if problem:
            raise InvalidRequest(problem, field="params.name")
        return {
            "name": name,
            "description": text(params, "description", default="", longest=500),
            "baseline": boolean(params, "baseline", default=False),
        }

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        if target.power_state not in (PowerState.RUNNING, PowerState.SHUT_OFF):
            raise NotAdmitted(
                "wrong_power_state", f"{target} is {target.get_power_state_display()}; it must be running or off."
            )
        if params["baseline"] and target.baseline is not None:
            raise NotAdmitted("baseline_exists", f"{target} has a baseline already: {target.baseline}.")
        prefix = "baseline" if params["baseline"] else "snapshot"
        params["name"] = params["name"] or f"{prefix}-{timezone.now():%Y%m%d-%H%M%S}"
        if target.snapshots.filter(name=params["name"], missing_since=None).exists():
            raise NotAdmitted("snapshot_exists", f"{target} has a snapshot “{params['name']}” already.")

    def precheck(self, context: JobContext) -> None:
        host = context.home()
        connection = context.on(host)
        state = connection.guest_state(context.uuid)
        names = {snapshot.name for snapshot in connection.list_snapshots(context.uuid)}
        context.verdicts(
            [
                _steady(context.vm, state.state),
                _idle(context.vm, connection.activity(context.uuid)),
                Verdict(
                    "name_free",
                    "See that the name is free",
                    context.params["name"] not in names,
                    "snapshot_exists",
                    f"{context.vm} has a snapshot “{context.params['name']}” already.",
                ),
            ]
        )
        context.note(was_running=state.state is PowerState.RUNNING)

    def execute(self, context: JobContext) -> None:
        host = context.home()
        info, seconds = snapshot_take(context, host, context.params["name"], context.params["description"])
        context.result(snapshot=info.name, seconds=round(seconds, 3), has_memory=info.has_memory)

    def verify(self, context: JobContext) -> None:
        host = context.home()
        snapshot_proved(context, host, context.params["name"])
        row = Snapshot.objects.get(vm=context.vm, name=context.params["name"])
        Snapshot.objects.filter(pk=row.pk).update(created_by=context.job.requested_by)
        if context.params["baseline"]:
            snapshot_baseline_set(row)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        if context.job.journal.get("was_running") and unstick(context, context.home()):
            return f"{context.vm} had been left paused; it runs again."
        return ""


class SnapshotRevert(Operation):
    """Go back to a snapshot: what came after it is lost."""

    name = "snapshot.revert"
    label = "Revert"
    action = Action.REVERT

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "snapshot")
        return {"snapshot": text(params, "snapshot", longest=255)}

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        refuse_unknown_snapshot(target, params["snapshot"])

    def precheck(self, context: JobContext) -> None:
        connection = context.on(context.home())
        state = connection.guest_state(context.uuid).state
        info = _listed(connection.list_snapshots(context.uuid), context.params["snapshot"])
        writable = {
            disk.target
            for disk in connection.guest_definition(context.uuid).disks
            if disk.device == "disk" and not disk.read_only
        }
        missing = writable - set(info.disks) if info else set()
        context.verdicts(
            [
                _exists(context, info),
                _idle(context.vm, connection.activity(context.uuid)),
                Verdict(
                    "all_disks",
                    "See that the snapshot holds every disk",
                    not missing,
                    "snapshot_incomplete",
                    f"The snapshot does not hold {', '.join(sorted(missing))}; going back would mix two times.",
                ),
            ]
        )
        context.note(was_running=state is PowerState.RUNNING)

    def execute(self, context: JobContext) -> None:
        seconds = snapshot_go_back(context, context.home(), context.params["snapshot"])
        context.result(snapshot=context.params["snapshot"], seconds=round(seconds, 3))

    def verify(self, context: JobContext) -> None:
        revert_proved(context, context.home(), context.params["snapshot"])

    def rollback(self, context: JobContext, error: BaseException) -> str:
        if back_on(context, context.home()):
            return f"{context.vm} had been left off; it was started again on its disks as they are."
        return ""


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
            raise NotAdmitted("baseline_protected", f"“{params['snapshot']}” is the baseline of {target}; it is kept.")

    def precheck(self, context: JobContext) -> None:
        connection = context.on(context.home())
        info = _listed(connection.list_snapshots(context.uuid), context.params["snapshot"])
        context.verdicts([_exists(context, info), _idle(context.vm, connection.activity(context.uuid))])

    def execute(self, context: JobContext) -> None:
        snapshot_remove(context, context.home(), context.params["snapshot"])

    def verify(self, context: JobContext) -> None:
        host, name = context.home(), context.params["snapshot"]
        with context.step("verify", "See that it is gone"):
            if _listed(context.on(host).list_snapshots(context.uuid), name):
                raise OperationFailed("snapshot_still_there", f"The host still lists “{name}”.")
            snapshot_forgotten(context.vm, name)
            vm_details_read(context.vm, context.on(host))


def snapshot_take(context: JobContext, host: Host, name: str, description: str) -> tuple[SnapshotInfo, float]:
    """Take a snapshot, or adopt the one that an earlier attempt of this job took. Returns it and the seconds it
    took.
    """
    connection = context.on(host)
    with context.step("create", f"Take the snapshot “{name}”", shown_at_once=False) as step:
        context.progress("saving", 10, shown_at_once=False)
        if context.is_taken_up:
            taken = _listed(connection.list_snapshots(context.uuid), name)
            if taken is not None:
                step.detail = "found as taken by an earlier attempt of this job"
                return taken, 0.0
            unstick(context, host)
        text_ = described(description, context.job.pk)
        began = time.monotonic()
        taken = context.effect(
            "snapshot_create",
            lambda: connection.snapshot_create(context.uuid, name, text_),
            host=host,
            snapshot=name,
        )
        seconds = time.monotonic() - began
        step.detail = f"{seconds:.2f} s" + (", the VM stood still meanwhile" if taken.has_memory else "")
        return taken, seconds


def snapshot_proved(context: JobContext, host: Host, name: str) -> None:
    """Prove that a snapshot is there and that the VM runs on as before, and read both into the inventory."""
    connection = context.on(host)
    info = _listed(connection.list_snapshots(context.uuid), name)
    state = connection.guest_state(context.uuid).state
    wanted = PowerState.RUNNING if context.job.journal.get("was_running") else PowerState.SHUT_OFF
    context.verdicts(
        [
            Verdict(
                "listed",
                "See that the host lists it",
                info is not None,
                "snapshot_missing",
                f"The host does not list “{name}”.",
            ),
            Verdict(
                "runs_on",
                "See that the VM is as before",
                state is wanted,
                "wrong_end_state",
                f"{context.vm} is {state.value} now; it was {wanted.value}.",
                found=state.value,
            ),
        ]
    )
    guest_read(host, connection, context.uuid)
    vm_details_read(context.vm, connection)


def snapshot_go_back(context: JobContext, host: Host, name: str) -> float:
    """Revert, unless an earlier attempt of this job did. Returns the seconds it took."""
    connection = context.on(host)
    with context.step("revert", f"Go back to “{name}”", shown_at_once=False) as step:
        context.progress("reverting", 30, shown_at_once=False)
        state = connection.guest_state(context.uuid)
        if context.job.journal.get("reverting") == name and state.reason is StateReason.FROM_SNAPSHOT:
            step.detail = "found as done by an earlier attempt of this job"
            return 0.0
        began = time.monotonic()
        context.effect(
            "snapshot_revert",
            lambda: connection.snapshot_revert(context.uuid, name),
            host=host,
            journal={"reverting": name},
            snapshot=name,
        )
        seconds = time.monotonic() - began
        step.detail = f"{seconds:.2f} s"
        return seconds


def revert_proved(context: JobContext, host: Host, name: str) -> None:
    """Prove that the VM is in the snapshot's state, and read it into the inventory."""
    connection = context.on(host)
    info = _listed(connection.list_snapshots(context.uuid), name)
    state = connection.guest_state(context.uuid).state
    wanted = info.state if info else PowerState.RUNNING
    context.verdicts(
        [
            Verdict(
                "kept",
                "See that the snapshot is still there",
                info is not None,
                "snapshot_missing",
                f"The host does not list “{name}”.",
            ),
            Verdict(
                "state",
                f"See that the VM is {wanted.value.replace('_', ' ')}",
                state is wanted,
                "wrong_end_state",
                f"{context.vm} is {state.value} now; the snapshot was {wanted.value}.",
                found=state.value,
            ),
            Verdict(
                "disks",
                "See that no disk reports an error",
                not (errors := connection.disk_errors(context.uuid) if state is PowerState.RUNNING else []),
                "disk_errors",
                f"Disks report errors: {', '.join(errors)}.",
            ),
        ]
    )
    guest_read(host, connection, context.uuid)
    vm_details_read(context.vm, connection)
    job_brought(context.vm, str(context.job))


def snapshot_remove(context: JobContext, host: Host, name: str) -> None:
    """Delete a snapshot, unless an earlier attempt of this job did."""
    with context.step("delete", f"Delete “{name}”", shown_at_once=False) as step:
        context.progress("deleting", 30, shown_at_once=False)
        try:
            context.effect(
                "snapshot_delete",
                lambda: context.on(host).snapshot_delete(context.uuid, name),
                host=host,
                snapshot=name,
            )
        except SnapshotNotFound:
            step.detail = "it was gone already"


def unstick(context: JobContext, host: Host) -> bool:
    """Let a VM run on that a dead daemon left paused in a save; whether it was so. Does nothing to any other VM."""
    connection = context.on(host)
    state = connection.guest_state(context.uuid)
    stuck = state.state is PowerState.PAUSED and state.reason in STUCK_REASONS
    if stuck and connection.activity(context.uuid) is Activity.NONE:
        context.undo_effect("resume", lambda: connection.resume(context.uuid), host=host)
        return True
    return False


def back_on(context: JobContext, host: Host) -> bool:
    """After a failed revert, which leaves a VM off: start it on its disks as they are, if it ran before; whether
    that was done.
    """
    connection = context.on(host)
    if not context.job.journal.get("was_running"):
        return False
    was_off = connection.guest_state(context.uuid).state is PowerState.SHUT_OFF
    if was_off:
        with context.step("back_on", "Start the VM again on its disks as they are", shown_at_once=False):
            context.undo_effect("start", lambda: connection.start(context.uuid), host=host)
    guest_read(host, connection, context.uuid)
    return was_off


def refuse_unknown_snapshot(vm: VM, name: str) -> Snapshot:
    """The observed snapshot of that name. Raises NotAdmitted."""
    row = vm.snapshots.filter(name=name, missing_since=None).first()
    if row is None:
        raise NotAdmitted("snapshot_not_found", f"{vm} has no snapshot “{name}”.")
    return row


def _listed(snapshots: list[SnapshotInfo], name: str) -> SnapshotInfo | None:
    return next((info for info in snapshots if info.name == name), None)


def _exists(context: JobContext, info: SnapshotInfo | None) -> Verdict:
    name = context.params["snapshot"]
    return Verdict(
        "exists",
        "See that the snapshot is there",
        info is not None,
        "snapshot_not_found",
        f"{context.vm} has no snapshot “{name}”.",
    )


def _steady(vm: VM, state: PowerState) -> Verdict:
    return Verdict(
        "steady",
        "See that the VM is running or off",
        state in (PowerState.RUNNING, PowerState.SHUT_OFF),
        "wrong_power_state",
        f"{vm} is {state.value}; it must be running or off.",
        found=state.value,
    )


def _idle(vm: VM, activity: Activity) -> Verdict:
    return Verdict(
        "idle",
        "See that the host runs no job on the VM",
        activity is Activity.NONE,
        "vm_busy_on_host",
        f"The host is working on {vm} ({activity.value}); somebody started that outside Slipway.",
    )
