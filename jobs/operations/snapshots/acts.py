"""What the operations on snapshots do to a host, each so that it may be entered again after a crash."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from hypervisor.errors import SnapshotNotFound
from hypervisor.types import Activity, PowerState, SnapshotInfo, StateReason
from inventory.approved import job_brought
from inventory.models import Host, Snapshot
from inventory.snapshot_marks import described
from inventory.syncing import guest_read, vm_details_read
from jobs.engine.context import Verdict
from jobs.operations.snapshots.checks import listed
from jobs.operations.snapshots.pause import Standstill

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

#: What a job took before it did something dangerous is kept for so long (days, not weeks: it costs more as it ages).
SAFETY_KEPT_FOR = timedelta(days=7)
#: Paused by a save, with no job left on the host: the trace of a daemon that died while it took a snapshot.
STUCK_REASONS = frozenset({StateReason.SAVE, StateReason.SNAPSHOT})


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot that was taken: how long the call took and how long the guest stood still, in seconds; None where
    that was not seen.
    """

    info: SnapshotInfo
    seconds: float | None = None
    pause_seconds: float | None = None


def snapshot_take(context: JobContext, host: Host, name: str, description: str) -> Taken:
    """Take a snapshot, or adopt the one that an earlier attempt of this job took."""
    connection = context.on(host)
    with context.step("create", f"Take the snapshot “{name}”", shown_at_once=False) as step:
        context.progress("saving", 10, shown_at_once=False)
        if context.is_taken_up:
            taken = listed(connection.list_snapshots(context.uuid), name)
            if taken is not None:
                step.detail = "found as taken by an earlier attempt of this job"
                return Taken(taken)
            unstick(context, host)
        text_ = described(description, context.job.pk)
        runs = context.job.journal.get("was_running")
        with Standstill(connection, context.uuid) if runs else nullcontext() as standstill:
            began = time.monotonic()
            taken = context.effect(
                "snapshot_create",
                lambda: connection.snapshot_create(context.uuid, name, text_),
                host=host,
                snapshot=name,
            )
            seconds = time.monotonic() - began
        pause = standstill.seconds if standstill is not None else None
        stood_still = "" if pause is None else f", the VM stood still for {pause:.2f} s of it"
        step.detail = f"{seconds:.2f} s{stood_still}"
        return Taken(taken, seconds, pause)


def safety_noted(context: JobContext, name: str) -> None:
    """Of a snapshot that a job took before something dangerous, once it was read: whose it is, how long it stays."""
    facts = {"created_by": context.job.requested_by, "expires_at": timezone.now() + SAFETY_KEPT_FOR}
    Snapshot.objects.filter(vm=context.vm, name=name).update(**facts)


def snapshot_proved(context: JobContext, host: Host, name: str) -> None:
    """Prove that a snapshot is there and that the VM runs on as before, and read both into the inventory."""
    connection = context.on(host)
    info = listed(connection.list_snapshots(context.uuid), name)
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
    info = listed(connection.list_snapshots(context.uuid), name)
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
