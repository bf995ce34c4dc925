"""`host.drain`: everything that runs on a host to other hosts of its cluster, and the host into maintenance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from access.actions import Action
from access.gate import SYSTEM, Actor
from hypervisor.errors import GuestNotFound
from inventory.models import Host
from inventory.services.hosts import host_set_availability
from inventory.syncing import guests_read
from jobs.engine.context import JobContext, Verdict
from jobs.errors import CancelRequested, NotAdmitted, OperationFailed, RightWithdrawn
from jobs.operations.base import Operation
from jobs.operations.hosts.pace import MOST_AT_ONCE, MOST_OUT_OF_A_HOST, Route
from jobs.operations.hosts.parts import Parts, facts_read
from jobs.operations.hosts.survey import Obstacle, Outlook, no_room, outlook, plan_for, rooms_for, survey
from jobs.operations.migrate.destinations import MIGRATE
from jobs.operations.migrate.prechecks import read_facts, verdicts
from jobs.operations.params import choice, integer, only

SHUTDOWN = "vm.shutdown"
#: Reasons told in one sentence; the rest are counted.
REASONS_TOLD = 5


class Drain(Operation):
    """Plans the whole of it first; then lets VM after VM migrate, each by a job of its own."""

    name = "host.drain"
    label = "Drain"
    action = Action.OPERATE_HOST
    target_kind = "host"
    also_bound_by = (MIGRATE,)

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "unmovable", "at_once", "policy", "bandwidth_mib")
        return {
            "unmovable": choice(params, "unmovable", ("refuse", "leave", "shut_down"), default="refuse"),
            "at_once": integer(params, "at_once", default=MOST_OUT_OF_A_HOST, low=1, high=MOST_AT_ONCE),
            "policy": choice(params, "policy", ("gentle", "assured", "pause-ok"), default="gentle"),
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
        connection = context.on(host)
        with context.step("look", "See what runs on the host") as step:
            guests_read(host, connection)
            found = survey(context.actor, host)
            step.detail = f"{len(found.movable) + len(found.stuck) + found.hidden} VMs run, {len(found.off)} are off"
        with context.step("ask", "Ask every host whether the VMs can move") as step:
            stuck = _live_obstacles(context, host)
            step.detail = f"{len(found.movable.keys() - stuck.keys())} can, {len(stuck) + found.hidden} cannot"
        context.note(left=written(stuck))
        cannot = len(stuck) + found.hidden
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
            moved = len(parts.succeeded(MIGRATE))
            step.detail = f"{vms_words(moved)} moved"
            parts.stop_if_asked()
            declare(context, host, Host.Availability.DRAINING)
            guests_read(host, context.on(host))
            self._go_on(context, host, parts)
            parts.wait_if_unfinished()

    def verify(self, context: JobContext) -> None:
        host = host_of(context)
        with context.step("empty", "See that nothing runs on the host any more") as step:
            guests_read(host, context.on(host))
            found = survey(SYSTEM, host)
            running = len(found.movable) + len(found.stuck)
            step.detail = f"{vms_words(running)} run there"
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
        """What has moved stays where it is. A host that was to be emptied and no longer is takes VMs again."""
        if not isinstance(error, CancelRequested | RightWithdrawn):
            return ""
        host = host_of(context)
        back = partial(host_set_availability, actor=SYSTEM, host=host, to=Host.Availability.ACTIVE, reason=str(error))
        context.ledger.commit(then=back)
        moved = len(Parts(context).succeeded(MIGRATE))
        return f"{host} is active again; {vms_words(moved)} had moved and stay where they are." if moved else ""

    def _go_on(self, context: JobContext, host: Host, parts: Parts) -> None:
        """Begin what can begin, and note of everything else whether it is for later or stays."""
        found = survey(context.actor, host)
        rooms = rooms_for(context.actor, host)
        ready = {vm.pk: vm for vm in parts.ready(found.movable.values(), MIGRATE)}
        plan = plan_for(ready.values(), rooms, parts.barred(rooms))
        stuck = {pk: vm for pk, (vm, _obstacle) in found.stuck.items()} | {pk: ready[pk] for pk in plan.homeless}
        stuck |= {pk: found.movable[pk] for pk in parts.left}
        parts.left |= {pk: obstacle for pk, (_vm, obstacle) in found.stuck.items()}
        parts.left |= {pk: no_room(context.actor, ready[pk]) for pk in plan.homeless}
        routes = [Route(pk, host.pk, destination) for pk, destination in plan.places.items()]
        parts.begin_moves(routes, ready, rooms, out_of_a_host=context.params["at_once"])
        if context.params["unmovable"] == "shut_down":
            for vm in parts.ready([vm for vm in stuck.values() if vm.is_running], SHUTDOWN):
                parts.begin(SHUTDOWN, vm, {})
        moved, to_go = len(parts.succeeded(MIGRATE)), len(found.movable)
        context.note(left=written(parts.left))
        percent = 100 * moved // (moved + to_go) if moved + to_go else 0
        context.progress("draining", percent, shown_at_once=False, moved=moved, to_go=to_go, left=len(parts.left))


def _refuse_incomplete(found: Outlook) -> None:
    """Raises NotAdmitted with the reasons that the asker may know, unless the host would become empty."""
    if found.is_complete:
        return
    reasons = [obstacle.why for _vm, obstacle in found.stuck.values()]
    if found.survey.hidden:
        reasons.append(f"It also runs {vms_words(found.survey.hidden)} that you do not see.")
    shown = " ".join(reasons[:REASONS_TOLD])
    more = f" And {len(reasons) - REASONS_TOLD} more." if len(reasons) > REASONS_TOLD else ""
    raise NotAdmitted("drain_incomplete", f"{found.survey.host} would not become empty. {shown}{more}")


def _live_obstacles(context: JobContext, host: Host) -> dict[int, Obstacle]:
    """What speaks against the plan, by the hosts themselves: the checks that each migration makes again."""
    for room in rooms_for(context.actor, host).values():
        facts_read(context, room)
    found = outlook(context.actor, host)
    cannot = {pk: obstacle for pk, (_vm, obstacle) in found.stuck.items()}
    for vm, destination in found.moves:
        try:
            facts = read_facts(vm, host, destination, context.on(host), context.on(destination))
        except GuestNotFound:
            continue  # it has just gone
        failed = next((verdict for verdict in verdicts(facts) if not verdict.holds), None)
        if failed is not None:
            cannot[vm.pk] = Obstacle(failed.code, failed.why)
    return cannot


def host_of(context: JobContext) -> Host:
    host: Host = Host.objects.select_related("cluster").get(jobs=context.job)
    return host


def declare(context: JobContext, host: Host, to: Host.Availability) -> None:
    """Say what the host is available for from now on, if the job is still this worker's. Raises Fenced, Refused."""
    if host.availability != to:
        context.ledger.commit(then=partial(host_set_availability, actor=context.actor, host=host, to=to))


def written(left: Mapping[int, Obstacle]) -> dict[str, list[str]]:
    """As it is journalled."""
    return {str(pk): [obstacle.code, obstacle.why] for pk, obstacle in sorted(left.items())}


def vms_words(count: int) -> str:
    return f"{count} VM" if count == 1 else f"{count} VMs"
