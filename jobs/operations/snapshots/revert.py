"""`snapshot.revert`: back to a snapshot; what came after it is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from access.actions import Action
from access.gate import Actor
from hypervisor.errors import HostUnreachable, HypervisorError, OperationTimeout
from hypervisor.types import PowerState
from inventory.models import VM, Host
from inventory.syncing import vm_details_read
from jobs.engine.context import Verdict
from jobs.errors import OperationFailed
from jobs.operations.base import Operation
from jobs.operations.params import boolean, only, text
from jobs.operations.power import refuse_unsettled
from jobs.operations.snapshots.acts import (
    back_on,
    revert_proved,
    safety_noted,
    snapshot_go_back,
    snapshot_take,
    unstick,
)
from jobs.operations.snapshots.checks import STEADY, exists, idle, listed, refuse_unknown_snapshot
from jobs.operations.snapshots.clock import clock_set

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


class SnapshotRevert(Operation):
    """Go back to a snapshot: what came after it is lost."""

    name = "snapshot.revert"
    label = "Revert"
    action = Action.REVERT

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "snapshot", "safety")
        return {
            "snapshot": text(params, "snapshot", longest=255),
            "safety": boolean(params, "safety", default=True),
        }

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        refuse_unknown_snapshot(target, params["snapshot"])

    def precheck(self, context: JobContext) -> None:
        connection = context.on(context.home())
        state = connection.guest_state(context.uuid).state
        info = listed(connection.list_snapshots(context.uuid), context.params["snapshot"])
        writable = {
            disk.target
            for disk in connection.guest_definition(context.uuid).disks
            if disk.device == "disk" and not disk.read_only
        }
        missing = writable - set(info.disks) if info else set()
        context.verdicts(
            [
                exists(context, info),
                idle(context.vm, connection.activity(context.uuid)),
                Verdict(
                    "all_disks",
                    "See that the snapshot holds every disk",
                    not missing,
                    "snapshot_incomplete",
                    f"The snapshot does not hold {', '.join(sorted(missing))}; going back would mix two times.",
                ),
            ]
        )
        context.note(
            was_running=state is PowerState.RUNNING,
            safety=f"before-revert-{context.token}" if context.params["safety"] and state in STEADY else "",
        )

    def execute(self, context: JobContext) -> None:
        if context.job.journal.get("reverted"):
            return  # by an earlier attempt; its guest may have been started anew since
        host, name, safety = context.home(), context.params["snapshot"], context.job.journal.get("safety", "")
        if safety and not context.job.journal.get("reverting"):  # from there on it would keep what was gone back to
            _safety_taken(context, host, safety)
        seconds = snapshot_go_back(context, host, name)
        context.note(reverted=True)
        context.result(snapshot=name, seconds=round(seconds, 3))

    def verify(self, context: JobContext) -> None:
        host = context.home()
        revert_proved(context, host, context.params["snapshot"])
        clock_set(context, host)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        if context.job.journal.get("was_running") and unstick(context, context.home()):
            return f"{context.vm} had been left paused; it runs again."
        if back_on(context, context.home()):
            return f"{context.vm} had been left off; it was started again on its disks as they are."
        return ""


def _safety_taken(context: JobContext, host: Host, name: str) -> None:
    """What would be lost is kept: nothing is reverted that could not be saved before. It is noted at once how long it
    stays: going back may fail. Raises OperationFailed.
    """
    try:
        taken = snapshot_take(context, host, name, f"Before going back to “{context.params['snapshot']}”")
    except (HostUnreachable, OperationTimeout):
        raise
    except HypervisorError as error:
        raise OperationFailed(
            "safety_failed",
            f"{context.vm} is as it was: it could not be saved first ({error}). Going back without that is possible.",
        ) from error
    context.result(safety=name)
    vm_details_read(context.vm, context.on(host))
    safety_noted(context, name)
    if taken.pause_seconds is not None:
        context.result(safety_pause_seconds=round(taken.pause_seconds, 3))
