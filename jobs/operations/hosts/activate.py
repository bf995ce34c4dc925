"""`host.activate`: a host out of maintenance, and its VMs home."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from access import gate
from access.actions import Action
from access.gate import Actor, System
from inventory.models import VM, Host
from jobs.engine.context import JobContext
from jobs.errors import NotAdmitted
from jobs.operations.base import Operation
from jobs.operations.hosts.drain import START, vms_words
from jobs.operations.hosts.homeward import homeward
from jobs.operations.hosts.pace import MOST_AT_ONCE, MOST_INTO_A_HOST, Caps, Route
from jobs.operations.hosts.parts import Parts
from jobs.operations.hosts.standing import declare, guests_looked, host_of, restore, written
from jobs.operations.hosts.survey import Obstacle, no_place, plan_for
from jobs.operations.migrate.policies import policy_wish
from jobs.operations.migrate.surroundings import MIGRATE, OFF
from jobs.operations.params import boolean, integer, only


class Activate(Operation):
    """The host takes VMs again. What its drains moved away comes home, what they shut down is started."""

    name = "host.activate"
    label = "Activate"
    action = Action.OPERATE_HOST
    target_kind = "host"

    def bound_by(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        return (self.name, MIGRATE, START)

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "return_home", "at_once", "policy", "bandwidth_mib")
        return {
            "return_home": boolean(params, "return_home", default=True),
            "at_once": integer(params, "at_once", default=MOST_INTO_A_HOST, low=1, high=MOST_AT_ONCE),
            "policy": policy_wish(params),
            "bandwidth_mib": integer(params, "bandwidth_mib", default=0, low=0, high=1_000_000),
        }

    def admit(self, actor: Actor, target: Host, params: dict[str, Any]) -> None:
        if target.availability == Host.Availability.ACTIVE:
            raise NotAdmitted("already_active", f"{target} is active already.")
        if not target.is_online:
            raise NotAdmitted("host_offline", f"{target} does not answer at present.")
        if params["return_home"] and homeward(target).moved:
            gate.authorise(actor, Action.PLACE, target)

    def extent(self, actor: Actor, target: Host, params: dict[str, Any]) -> list[int]:
        if not params["return_home"]:
            return []
        guests = homeward(target)
        found = VM.objects.filter(pk__in=[*guests.moved, *guests.shut_down])
        seen: Any = found if isinstance(actor, System) else found.visible_to(actor)
        return sorted(seen.values_list("pk", flat=True))

    def precheck(self, context: JobContext) -> None:
        host = host_of(context)
        with context.step("look", "See that the host answers, and what runs on it") as step:
            guests_looked(context, host)
            step.detail = f"{VM.objects.filter(host=host).exclude(power_state__in=OFF).count()} running"
        context.note(was=host.availability)

    def execute(self, context: JobContext) -> None:
        host = host_of(context)
        with context.step("return", "Bring the VMs home", shown_at_once=False) as step:
            parts = Parts(context)
            step.detail = f"{vms_words(len(parts.succeeded(MIGRATE)))} moved, {len(parts.succeeded(START))} started"
            parts.stop_if_asked()
            declare(context, host, Host.Availability.RESTORING)
            self._go_on(context, host, parts)
            parts.wait_if_unfinished()

    def verify(self, context: JobContext) -> None:
        host, parts = host_of(context), Parts(context)
        away: frozenset[int] = frozenset()
        if context.params["return_home"]:
            guests = homeward(host)
            away = guests.moved | guests.shut_down  # those that the requester does not see included
        context.result(returned=len(parts.succeeded(MIGRATE)), started=len(parts.succeeded(START)), left=len(away))
        declare(context, host, Host.Availability.ACTIVE)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """What has come home stays, and then the host takes VMs; else it is as it was."""
        home = len(Parts(context).succeeded(MIGRATE)) + len(Parts(context).succeeded(START))
        host = restore(context, error, to=Host.Availability.ACTIVE if home else None)
        if host is None:
            return ""
        return f"{host} is {host.get_availability_display().lower()}; what had not come home stays where it is."

    def _go_on(self, context: JobContext, host: Host, parts: Parts) -> None:
        """First what is off because of the drain, then the VMs of the fullest hosts, the small before the large."""
        extent, guests = set(context.job.extent), homeward(host)
        off = VM.objects.filter(pk__in=guests.shut_down & extent).select_related("host").order_by("name", "pk")
        away = VM.objects.filter(pk__in=guests.moved & extent).select_related("host").order_by("memory_mib", "pk")
        for vm in _answering(parts, parts.ready(off, START)):
            parts.begin(START, vm, {})
        ready = {vm.pk: vm for vm in _answering(parts, sorted(parts.ready(away, MIGRATE), key=_fullness, reverse=True))}
        plan = plan_for(ready.values(), {host.pk: Host.objects.get(pk=host.pk)})
        routes = [Route(vm.pk, vm.host_id or 0, host.pk) for vm in ready.values() if vm.pk in plan.places]
        parts.begin_moves(routes, ready, {host.pk: host}, Caps(into_a_host=context.params["at_once"]))
        if not parts.is_going_on:  # else what is under way is counted twice, as memory taken and as memory promised
            for pk in plan.homeless:
                obstacle = no_place(context.actor, ready[pk], {host.pk: host}, plan.places)
                full = Obstacle("memory_short", f"{host} has no room for {ready[pk]}.")
                parts.left[pk] = obstacle if obstacle.code == "placement_rule" else full
        home, to_come = len(parts.succeeded(MIGRATE)) + len(parts.succeeded(START)), len(off) + len(away)
        context.note(left=written(parts.left))
        percent = 100 * home // (home + to_come) if home + to_come else 0
        context.progress("returning", percent, shown_at_once=False, moved=home, to_go=to_come, left=len(parts.left))


def _answering(parts: Parts, vms: list[VM]) -> list[VM]:
    """Those whose present host answers; the others stay where they are."""
    found = [vm for vm in vms if vm.host is not None and vm.host.is_online]
    silent = [vm for vm in vms if vm not in found]
    parts.left |= {vm.pk: Obstacle("host_offline", f"The host of {vm} does not answer at present.") for vm in silent}
    return found


def _fullness(vm: VM) -> float:
    """How full the host is that a VM is on, from 0 to 1."""
    host = vm.host
    return 1 - host.memory_free_mib / host.memory_mib if host is not None and host.memory_mib else 0.0
