"""`snapshot.revert`: back to a snapshot; what came after it is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from access.actions import Action
from access.gate import Actor
from hypervisor.types import PowerState
from inventory.models import VM
from jobs.engine.context import Verdict
from jobs.operations.base import Operation
from jobs.operations.params import only, text
from jobs.operations.power import refuse_unsettled
from jobs.operations.snapshots.acts import back_on, revert_proved, snapshot_go_back
from jobs.operations.snapshots.checks import exists, idle, listed, refuse_unknown_snapshot

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


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
