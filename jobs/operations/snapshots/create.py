"""`snapshot.create`: disks, and memory of a running VM."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone

from access.actions import Action
from access.gate import Actor
from hypervisor.names import snapshot_name_problem
from hypervisor.types import PowerState
from inventory.models import VM, Snapshot
from inventory.services.snapshots import LONGEST_HOURS
from inventory.snapshot_marks import snapshot_baseline_set
from jobs.engine.context import Verdict
from jobs.errors import InvalidRequest, NotAdmitted
from jobs.operations.base import Operation
from jobs.operations.params import boolean, integer, only, text
from jobs.operations.power import refuse_unsettled
from jobs.operations.snapshots.acts import snapshot_proved, snapshot_take, unstick
from jobs.operations.snapshots.checks import STEADY, idle, steady
from jobs.operations.snapshots.pause import Forecast, pause_of_running

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


class SnapshotCreate(Operation):
    """Take a snapshot: disks, and memory of a running VM, which stands still meanwhile."""

    name = "snapshot.create"
    label = "Snapshot"
    action = Action.SNAPSHOT

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "name", "description", "baseline", "replace", "longest_pause_seconds", "keep_hours")
        name = text(params, "name", default="", longest=100)
        problem = snapshot_name_problem(name) if name else ""
        if problem:
            raise InvalidRequest(problem, field="params.name")
        baseline, replace = boolean(params, "baseline", default=False), boolean(params, "replace", default=False)
        if replace and not baseline:
            raise InvalidRequest("Only a baseline is taken in place of another.", field="params.replace")
        keep_hours = integer(params, "keep_hours", default=None, low=1, high=LONGEST_HOURS)
        if keep_hours is not None and baseline:
            raise InvalidRequest("A baseline is kept.", field="params.keep_hours")
        return {
            "name": name,
            "description": text(params, "description", default="", longest=500),
            "baseline": baseline,
            "replace": replace,
            "keep_hours": keep_hours,
            "longest_pause_seconds": integer(params, "longest_pause_seconds", default=None, low=0, high=3600),
        }

    def asks_second_person(self, params: Mapping[str, Any]) -> bool:
        """What everybody falls back to is not replaced by one person alone."""
        return bool(params.get("replace"))

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        if target.power_state not in STEADY:
            raise NotAdmitted(
                "wrong_power_state", f"{target} is {target.get_power_state_display()}; it must be running or off."
            )
        _refuse_second_baseline(target, params)
        prefix = "baseline" if params["baseline"] else "snapshot"
        params["name"] = params["name"] or f"{prefix}-{timezone.now():%Y%m%d-%H%M%S}"
        there = Q(missing_since=None) | Q(is_baseline=True)  # nothing else gets the name of a baseline that was lost
        if target.snapshots.filter(there, name=params["name"]).exists():
            raise NotAdmitted("snapshot_exists", f"{target} has a snapshot “{params['name']}” already.")

    def precheck(self, context: JobContext) -> None:
        host = context.home()
        connection = context.on(host)
        state = connection.guest_state(context.uuid)
        names = {snapshot.name for snapshot in connection.list_snapshots(context.uuid)}
        runs = state.state is PowerState.RUNNING
        forecast = pause_of_running(context.vm) if runs else None
        context.verdicts(
            [
                steady(context.vm, state.state),
                idle(context.vm, connection.activity(context.uuid)),
                Verdict(
                    "name_free",
                    "See that the name is free",
                    context.params["name"] not in names,
                    "snapshot_exists",
                    f"{context.vm} has a snapshot “{context.params['name']}” already.",
                ),
                _sole_baseline(context),
                _pause(context, forecast),
            ]
        )
        context.note(was_running=runs)
        if forecast is not None:
            context.result(foretold_pause_seconds=round(forecast.seconds, 3))

    def execute(self, context: JobContext) -> None:
        host = context.home()
        taken = snapshot_take(context, host, context.params["name"], context.params["description"])
        if taken.seconds is None and "seconds" in context.job.result:
            return  # what an earlier attempt has measured stands
        context.result(
            snapshot=taken.info.name,
            seconds=round(taken.seconds or 0.0, 3),
            has_memory=taken.info.has_memory,
            pause_seconds=None if taken.pause_seconds is None else round(taken.pause_seconds, 3),
        )

    def verify(self, context: JobContext) -> None:
        host = context.home()
        snapshot_proved(context, host, context.params["name"])
        row = Snapshot.objects.get(vm=context.vm, name=context.params["name"])
        pause = context.job.result.get("pause_seconds")
        measured = {"pause_ms": round(pause * 1000), "saved_mib": context.vm.memory_mib} if pause is not None else {}
        hours = context.params.get("keep_hours")
        expires_at = timezone.now() + timedelta(hours=hours) if hours else None
        facts = {"created_by": context.job.requested_by, "taken_on": host, "expires_at": expires_at}
        Snapshot.objects.filter(pk=row.pk).update(**facts, **measured)
        if context.params["baseline"]:
            snapshot_baseline_set(row)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        if context.job.journal.get("was_running") and unstick(context, context.home()):
            return f"{context.vm} had been left paused; it runs again."
        return ""


def _refuse_second_baseline(vm: VM, params: Mapping[str, Any]) -> None:
    """Raises NotAdmitted."""
    if params["baseline"] and params["replace"] and vm.baseline is None:
        raise NotAdmitted("no_baseline", f"{vm} has no baseline to replace.")
    why = _second_baseline(vm, params)
    if why:
        raise NotAdmitted("baseline_exists", why)


def _second_baseline(vm: VM, params: Mapping[str, Any]) -> str:
    """Why it cannot become the baseline; "" if it can. One that the host does not list any more is still what the VM
    was to fall back to.
    """
    present = vm.baseline if params["baseline"] and not params["replace"] else None
    if present is None:
        return ""
    gone = "" if present.missing_since is None else ", which its host does not list any more"
    return f"{vm} has a baseline already, “{present.name}”{gone}. Replace it, which a second person must approve."


def _sole_baseline(context: JobContext) -> Verdict:
    """Asked again now that the VM is this job's: another one may have ended while this one was admitted."""
    why = _second_baseline(context.vm, context.params)
    return Verdict("sole_baseline", "See that no other is the baseline", not why, "baseline_exists", why)


def _pause(context: JobContext, forecast: Forecast | None) -> Verdict:
    longest = context.params.get("longest_pause_seconds")
    holds = forecast is None or longest is None or forecast.seconds <= longest
    found = "it is off" if forecast is None else f"{forecast}, by {forecast.basis}"
    return Verdict(
        "pause",
        "See how long it will stand still",
        holds,
        "pause_too_long",
        f"{context.vm} would stand still for {forecast}; {longest} s are allowed. Take it while the VM is off.",
        found=found,
    )
