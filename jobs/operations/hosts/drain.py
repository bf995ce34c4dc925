"""`host.drain`: everything that runs on a host to other hosts of its cluster, and the host into maintenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from access.actions import Action
from access.gate import SYSTEM, Actor
from inventory.models import VM, Host
from jobs.engine.context import JobContext, Verdict
from jobs.errors import NotAdmitted, OperationFailed
from jobs.models import Job
from jobs.operations.base import Operation
from jobs.operations.hosts.asking import hosts_object
from jobs.operations.hosts.pace import MOST_AT_ONCE, MOST_OUT_OF_A_HOST, Caps, Route
from jobs.operations.hosts.packing import Plan
from jobs.operations.hosts.parts import Parts, facts_read
from jobs.operations.hosts.paths import proved_lately
from jobs.operations.hosts.standing import declare, guests_looked, host_of, restore, written
from jobs.operations.hosts.survey import Obstacle, Outlook, no_place, others_of, outlook, plan_for, rooms_for, survey
from jobs.operations.migrate.policies import policy_wish
from jobs.operations.migrate.surroundings import MIGRATE
from jobs.operations.params import choice, integer, only

SHUTDOWN, START = "vm.shutdown", "vm.start"
#: Reasons told in one sentence; the rest are counted.
REASONS_TOLD = 5
#: So often on end there has to be no place for a VM, before it is taken to have none.
LOOKS_WITHOUT_A_PLACE = 4
#: Somebody decided against moving it: that is no reason to shut it down.
DECIDED = frozenset({"cancelled", "rejected", "right_withdrawn", "needs_approval"})


class Drain(Operation):
    """Plans the whole of it first; then lets VM after VM migrate, each by a job of its own."""

    name = "host.drain"
    label = "Drain"
    action = Action.OPERATE_HOST
    target_kind = "host"

    def bound_by(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        shut_down = (SHUTDOWN,) if params.get("unmovable") == "shut_down" else ()
        return (self.name, MIGRATE, *shut_down)

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "unmovable", "at_once", "policy", "bandwidth_mib")
        return {
            "unmovable": choice(params, "unmovable", ("refuse", "leave", "shut_down"), default="refuse"),
            "at_once": integer(params, "at_once", default=MOST_OUT_OF_A_HOST, low=1, high=MOST_AT_ONCE),
            "policy": policy_wish(params),
            "bandwidth_mib": integer(params, "bandwidth_mib", default=0, low=0, high=1_000_000),
        }

    def admit(self, actor: Actor, target: Host, params: dict[str, Any]) -> None:
        if not target.is_online:
            raise NotAdmitted("host_offline", f"{target} does not answer at present.")
        found = outlook(actor, target)
        if target.availability == Host.Availability.MAINTENANCE and found.survey.is_empty:
            raise NotAdmitted("already_in_maintenance", f"{target} is empty and in maintenance already.")
        if params["unmovable"] == "refuse":
            _refuse_incomplete(found)

    def extent(self, actor: Actor, target: Host, params: dict[str, Any]) -> list[int]:
        found = survey(actor, target)
        return sorted([*found.movable, *found.stuck])

    def precheck(self, context: JobContext) -> None:
        host = host_of(context)
        with context.step("look", "See what runs on the host") as step:
            guests_looked(context, host)
            found = survey(context.actor, host)
            running = len(found.movable) + len(found.stuck) + found.hidden
            step.detail = f"{running} running, {len(found.off)} off"
        if found.movable:
            with context.step("paths", "See that the paths to the other hosts were proved lately") as step:
                proved_lately(context, host)
        with context.step("ask", "Ask every host whether the VMs can move") as step:
            stuck = _live_obstacles(context, host)
            cannot = len(stuck) + found.hidden
            step.detail = f"{len(found.movable.keys() - stuck.keys())} can, {cannot} cannot"
        context.note(left=written(stuck), was=host.availability)
        everything = Verdict(
            "everything",
            "See that nothing has to stay",
            cannot == 0 or context.params["unmovable"] != "refuse",
            "drain_incomplete",
            f"{vms_words(cannot)} cannot leave {host}, and nothing was moved. Mend that, or let them stay.",
            found="" if cannot == 0 else f"{vms_words(cannot)} cannot leave, which was agreed to",
        )
        context.verdicts([everything])

    def execute(self, context: JobContext) -> None:
        host = host_of(context)
        with context.step("move", "Move the VMs away", shown_at_once=False) as step:
            parts = Parts(context)
            step.detail = f"{vms_words(len(parts.succeeded(MIGRATE)))} moved"
            parts.stop_if_asked()
            declare(context, host, Host.Availability.DRAINING)
            guests_looked(context, host)
            _Pass(context, host, parts).go_on()
            parts.wait_if_unfinished()

    def verify(self, context: JobContext) -> None:
        host = host_of(context)
        with context.step("empty", "See that nothing runs on the host any more") as step:
            guests_looked(context, host)
            found = survey(SYSTEM, host)
            running = len(found.movable) + len(found.stuck)
            step.detail = f"{vms_words(running)} still there"
            if running and context.params["unmovable"] != "leave":
                raise OperationFailed(
                    "drain_incomplete",
                    f"{vms_words(running)} could not leave {host}. It takes no VMs until it is drained or activated.",
                )
        parts = Parts(context)
        context.result(
            moved=len(parts.succeeded(MIGRATE)),
            shut_down=len(parts.succeeded(SHUTDOWN)),
            left=running,
            off=len(found.off),
        )
        declare(context, host, Host.Availability.MAINTENANCE)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """What has moved stays where it is. The host is available for what it was before."""
        host = restore(context, error)
        if host is None:
            return ""
        parts = Parts(context)
        moved, off = len(parts.succeeded(MIGRATE)), len(parts.succeeded(SHUTDOWN))
        shut_down = f", and {off} had been shut down" if off else ""
        return f"{host} is {host.get_availability_display().lower()}; {vms_words(moved)} had moved{shut_down}."


class _Pass:
    """One look at a host that is being emptied: what begins now, what waits, what stays."""

    def __init__(self, context: JobContext, host: Host, parts: Parts) -> None:
        self.context, self.host, self.parts = context, host, parts
        self.found = survey(context.actor, host)
        self.rooms = rooms_for(context.actor, host)
        self.ready = {vm.pk: vm for vm in parts.ready(self.found.movable.values(), MIGRATE)}

    def go_on(self) -> None:
        """Begin what can begin; once nothing is under way any more, decide about what has no place."""
        plan = plan_for(self.ready.values(), self.rooms, self.parts.barred(self.rooms))
        routes = [Route(pk, self.host.pk, destination) for pk, destination in plan.places.items()]
        caps = Caps(out_of_a_host=self.context.params["at_once"])
        self.parts.begin_moves(routes, self.ready, self.rooms, caps)
        given_up = {pk: self.found.movable[pk] for pk in self.parts.left}
        given_up |= {pk: vm for pk, (vm, _obstacle) in self.found.stuck.items()}
        self.parts.left |= {pk: obstacle for pk, (_vm, obstacle) in self.found.stuck.items()}
        given_up |= self._without_a_place(plan)
        if self.context.params["unmovable"] == "shut_down":
            self._shut_down(given_up.values())
        if _is_coming(self.host):
            self.parts.look_again()  # it was queued before the host took no VMs any more; it may yet arrive
        self._tell()

    def _without_a_place(self, plan: Plan) -> dict[int, VM]:
        """Those for which there was no place for several looks on end, with nothing under way and on fresh figures: a
        host that does not answer for a moment costs nobody its run.
        """
        before: dict[str, int] = self.context.job.journal.get("homeless", {})
        looks = {pk: before.get(str(pk), 0) + 1 for pk in plan.homeless}
        if self.parts.is_going_on or not plan.homeless:
            return {}
        self.context.note(homeless={str(pk): count for pk, count in looks.items()})
        given_up = {pk for pk, count in looks.items() if count >= LOOKS_WITHOUT_A_PLACE}
        if plan.homeless - given_up:
            for host in others_of(self.host):
                facts_read(self.context, host)
            self.parts.look_again()
        why = partial(no_place, self.context.actor, rooms=self.rooms, places=plan.places)
        self.parts.left |= {pk: why(self.ready[pk]) for pk in given_up}
        return {pk: self.ready[pk] for pk in given_up}

    def _shut_down(self, vms: Iterable[VM]) -> None:
        wanted = [vm for vm in vms if vm.is_running and self.parts.left[vm.pk].code not in DECIDED]
        for vm in self.parts.ready(wanted, SHUTDOWN):
            self.parts.begin(SHUTDOWN, vm, {})

    def _tell(self) -> None:
        moved, to_go = len(self.parts.succeeded(MIGRATE)), len(self.found.movable)
        percent = 100 * moved // (moved + to_go) if moved + to_go else 0
        facts = {"moved": moved, "to_go": to_go, "left": len(self.parts.left)}
        self.context.note(left=written(self.parts.left))
        self.context.progress("draining", percent, shown_at_once=False, **facts)


def _is_coming(host: Host) -> bool:
    """Whether a job that was accepted earlier may still bring or start a VM here."""
    active = Job.objects.active()
    moves = active.filter(operation=MIGRATE, params__destination=host.pk)
    return moves.exists() or active.filter(operation=START, vm__host=host).exists()


def _refuse_incomplete(found: Outlook) -> None:
    """Raises NotAdmitted with the reasons that the asker may know, unless the host would become empty."""
    if found.is_complete:
        return
    reasons = [obstacle.why for _vm, obstacle in found.stuck.values()]
    if found.survey.hidden:
        reasons.append(f"There is also something of others running on it ({vms_words(found.survey.hidden)}).")
    shown = " ".join(reasons[:REASONS_TOLD])
    more = f" And {len(reasons) - REASONS_TOLD} more." if len(reasons) > REASONS_TOLD else ""
    raise NotAdmitted("drain_incomplete", f"{found.survey.host} would not become empty. {shown}{more}")


def _live_obstacles(context: JobContext, host: Host) -> dict[int, Obstacle]:
    """What speaks against the plan, by the hosts themselves: the checks that each migration makes again."""
    for other in others_of(host):
        facts_read(context, other)
    found = outlook(context.actor, host)
    cannot = {pk: obstacle for pk, (_vm, obstacle) in found.stuck.items()}
    for number, (vm, destination) in enumerate(found.moves):
        context.check_cancel()
        context.progress("checking", 0, checked=number, to_check=len(found.moves))
        obstacle = hosts_object(context, vm, host, destination)
        if obstacle is not None:
            cannot[vm.pk] = obstacle
    return cannot


def vms_words(count: int) -> str:
    """So many VMs, in words."""
    return f"{count} VM" if count == 1 else f"{count} VMs"
