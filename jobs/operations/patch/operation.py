"""`vm.patch`: the pending updates of one guest, as a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from access.actions import Action
from access.gate import Actor
from hypervisor.errors import AgentRefused, AgentUnavailable, OperationTimeout
from hypervisor.types import PowerState
from inventory.models import VM, Host
from inventory.syncing import guest_read, vm_details_read
from jobs.engine.context import JobContext, Verdict
from jobs.errors import NotAdmitted, OperationFailed
from jobs.operations.base import Operation
from jobs.operations.params import integer, only
from jobs.operations.patch import apt
from jobs.operations.patch.guest import Guest
from jobs.operations.patch.health import ailments, differences
from jobs.operations.power import refuse_unsettled
from jobs.operations.snapshots import revert_proved, safety_noted, snapshot_go_back, snapshot_take
from jobs.operations.waiting import wait_for

#: Free space that an upgrade needs on the file system of /var, in MiB.
LEAST_FREE_MIB = 100
#: Pause between two looks at the update, in seconds: each look is a program that the guest has to run.
LOOK_EVERY = 2.0
#: How long a guest may take to answer again after a revert, in seconds.
BACK_WITHIN = 180


class Patch(Operation):
    """Plan, snapshot, apply exactly the plan in a transient unit, check, and keep or roll back."""

    name = "vm.patch"
    label = "Patch"
    action = Action.PATCH

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "timeout_seconds", "probation_seconds")
        return {
            "timeout_seconds": integer(params, "timeout_seconds", default=1800, low=30, high=14_400),
            "probation_seconds": integer(params, "probation_seconds", default=5, low=0, high=600),
        }

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        refuse_unsettled(target)
        if not target.is_running:
            raise NotAdmitted(
                "vm_not_running", f"{target} is {target.get_power_state_display()}; a guest is patched while it runs."
            )
        if not target.agent_channel:
            raise NotAdmitted(
                "no_agent", f"{target} has no channel for a guest agent; add one and install qemu-guest-agent."
            )

    def precheck(self, context: JobContext) -> None:
        host = context.home()
        guest = Guest(context, host)
        running = context.on(host).guest_state(context.uuid).state is PowerState.RUNNING
        agent = running and guest.answers()
        context.verdicts(
            [
                Verdict("running", "See that the VM runs", running, "vm_not_running", f"{context.vm} does not run."),
                Verdict(
                    "agent",
                    "See that the guest agent answers",
                    agent,
                    "agent_unavailable",
                    f"The guest agent of {context.vm} does not answer; see that qemu-guest-agent runs in it.",
                ),
            ]
        )
        try:
            family = _family(guest)
            free, broken = guest.free_mib("/var"), guest.half_configured()
        except (AgentRefused, apt.UnreadableAnswer) as error:
            raise OperationFailed("agent_refused", f"The guest does not let itself be patched: {error}") from error
        context.verdicts(
            [
                Verdict(
                    "family",
                    "See that the guest is of the apt family",
                    family,
                    "family_unsupported",
                    f"{context.vm} is not of the Debian family.",
                ),
                Verdict(
                    "space",
                    "See that there is room for packages",
                    free >= LEAST_FREE_MIB,
                    "guest_disk_full",
                    f"/var has {free} MiB free, {LEAST_FREE_MIB} are needed.",
                    found=f"{free} MiB free",
                ),
                Verdict(
                    "dpkg",
                    "See that no package is half-installed",
                    not broken,
                    "dpkg_half_way",
                    f"dpkg is half-way: {broken[:300]} Finish that first: dpkg --configure -a.",
                ),
            ]
        )

    def execute(self, context: JobContext) -> None:
        host = context.home()
        guest = Guest(context, host)
        try:
            if "plan" not in context.job.journal:
                _plan(context, host, guest)
            plan = planned(context)
            if not plan:
                context.result(packages=[], up_to_date=True)
                return
            _snapshot(context, host)
            _apply(context, host, guest, plan)
            _check(context, host, guest, plan)
        except (AgentUnavailable, AgentRefused, OperationTimeout, apt.UnreadableAnswer) as error:
            raise OperationFailed("guest_unresponsive", f"The guest stopped answering sensibly: {error}") from error
        after = guest.packages()
        context.result(
            packages=differences(context.job.journal["packages"], after),
            snapshot=context.job.journal["snapshot"],
            up_to_date=False,
            reboot_required=guest.read("/run/reboot-required", limit=100) is not None,
        )

    def verify(self, context: JobContext) -> None:
        host = context.home()
        state = context.on(host).guest_state(context.uuid).state
        context.verdicts(
            [
                Verdict(
                    "runs_on",
                    "See that the VM runs on",
                    state is PowerState.RUNNING,
                    "wrong_end_state",
                    f"{context.vm} is {state.value} after the patch.",
                )
            ]
        )
        guest_read(host, context.on(host), context.uuid)
        vm_details_read(context.vm, context.on(host))

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """Nothing was applied: nothing to undo. Else back to the snapshot, proven by the guest's own inventory."""
        journal = context.job.journal
        if not journal.get("applying"):
            return ""
        host = context.home()
        guest = Guest(context, host)
        snapshot_go_back(context, host, journal["snapshot"])
        with context.step("back", "Wait for the guest to answer again"):
            if (
                wait_for(context, lambda: guest.answers() or None, seconds=BACK_WITHIN, every=1.0, cancellable=False)
                is None
            ):
                raise OperationFailed(
                    "guest_not_back", f"The guest does not answer after the revert to {journal['snapshot']}."
                )
        with context.step("compare", "Compare the packages with those before") as step:
            left = differences(journal["packages"], guest.packages())
            step.detail = "as before" if not left else f"{len(left)} differ"
            if left:
                raise OperationFailed("rollback_incomplete", f"{len(left)} packages differ from before the patch.")
        revert_proved(context, host, journal["snapshot"])
        context.result(rolled_back=True, snapshot=journal["snapshot"])
        return f"Rolled back to the snapshot taken before; {context.vm} runs as it did then."


def planned(context: JobContext) -> list[apt.Change]:
    """The plan as journalled."""
    return [apt.Change(**facts) for facts in context.job.journal["plan"]]


def _family(guest: Guest) -> bool:
    release = guest.read("/etc/os-release") or ""
    facts = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    likes = f"{facts.get('ID', '')} {facts.get('ID_LIKE', '')}".replace('"', "").split()
    return "debian" in likes


def _plan(context: JobContext, host: Host, guest: Guest) -> None:
    """What is installed, what has failed already, and what apt would do."""
    context.progress("planning", 5)
    with context.step("inventory", "Note what is installed") as step:
        packages, failed = guest.packages(), guest.failed_units()
        step.detail = f"{len(packages)} packages, {len(failed)} failed units"
    with context.step("refresh", "Refresh the guest's package lists"):
        context.effect("guest_apt_update", lambda: guest.said(apt.UPDATE, seconds=300), host=host)
    with context.step("plan", "Plan the exact list") as step:
        plan = apt.parse_plan(guest.said(apt.PLAN, seconds=120))
        step.detail = ", ".join(f"{c.package} {c.old or 'new'} → {c.new}" for c in plan) or "nothing to do"
    context.journal(packages=packages, failed_units=sorted(failed), plan=[asdict(change) for change in plan])


def _snapshot(context: JobContext, host: Host) -> None:
    """Without a snapshot the patch does not start."""
    if "snapshot" not in context.job.journal:
        name = f"patch-{timezone.now():%Y%m%d-%H%M%S}-{context.token}"
        context.journal(snapshot=name, was_running=True)
    context.progress("saving", 20)
    context.check_cancel()
    taken = snapshot_take(context, host, context.job.journal["snapshot"], "Before a patch")
    context.result(snapshot_seconds=round(taken.seconds or 0.0, 3))
    vm_details_read(context.vm, context.on(host))
    safety_noted(context, context.job.journal["snapshot"])


def _apply(context: JobContext, host: Host, guest: Guest, plan: list[apt.Change]) -> None:
    """Install the plan, in a unit named after the job: started once, found again after a crash."""
    if context.job.journal.get("applied"):
        return
    unit, log = unit_names(context)
    with context.step("apply", f"Install {len(plan)} packages") as step:
        context.progress("applying", 40)
        if not (context.job.journal.get("applying") and _was_started(context, guest)):
            context.check_cancel()
            command = apt.apply_command(plan)
            context.effect(
                "guest_apply",
                lambda: guest.start_unit(unit, log, command),
                host=host,
                journal={"applying": True},
                command=list(command),
            )
        seconds = context.params["timeout_seconds"]

        def ended() -> bool | None:
            """Whether the unit is over; the agent may well be away while it is upgraded itself."""
            try:
                state = guest.unit(unit)
            except (AgentUnavailable, OperationTimeout):
                return None
            return None if state.running else state.succeeded

        succeeded = wait_for(context, ended, seconds=seconds, every=LOOK_EVERY)
        output = guest.read(log, limit=200_000) or ""
        step.detail = output[-4000:]
        if succeeded is None:
            raise OperationFailed("patch_timeout", f"The update did not end within {seconds} s.")
        if not succeeded:
            state = guest.unit(unit)
            if not state.loaded:
                raise OperationFailed("patch_interrupted", "The guest restarted while it was updated.")
            status = state.exit_status
            raise OperationFailed(
                "patch_failed", f"The update failed in the guest (exit status {status}): {_last_line(output)}"
            )
        context.note(applied=True)


def _was_started(context: JobContext, guest: Guest) -> bool:
    """Whether an earlier attempt of this job, which announced the start, came to it. The agent may be away meanwhile,
    being upgraded itself; a guest that stays silent counts as started, which waiting for its end will judge.
    """
    unit, log = unit_names(context)

    def known() -> bool | None:
        try:
            return guest.was_started(unit, log)
        except (AgentUnavailable, OperationTimeout):
            return None

    return wait_for(context, known, seconds=context.params["timeout_seconds"], every=LOOK_EVERY) is not False


def _check(context: JobContext, host: Host, guest: Guest, plan: list[apt.Change]) -> None:
    """The guest must be as well as before, at once and after its probation."""
    unit, _log = unit_names(context)
    context.progress("checking health", 80)
    for name, pause in (("health", 0), ("health_later", context.params["probation_seconds"])):
        with context.step(name, "Check the guest's health" + (f" after {pause} s" if pause else "")) as step:
            wait_for(context, lambda: None, seconds=pause, every=1.0)
            found = ailments(
                plan=plan,
                packages=guest.packages(),
                half_configured=guest.half_configured(),
                failed_before=set(context.job.journal["failed_units"]),
                failed_now=guest.failed_units(),
                own_unit=f"{unit}.service",
            )
            step.detail = " ".join(found) or "as well as before"
            if found:
                raise OperationFailed("unhealthy_after_patch", " ".join(found))
    context.undo_effect("guest_forget_unit", lambda: guest.forget_unit(unit), host=host, unit=unit)


def unit_names(context: JobContext) -> tuple[str, str]:
    """The transient unit's name and its log in the guest."""
    unit = f"slipway-patch-{context.token}"
    return unit, f"/var/log/{unit}.log"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "dpkg: error"))]
    return (errors or lines or ["no output"])[-1][:300]
