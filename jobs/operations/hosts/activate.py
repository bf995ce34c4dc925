"""`host.activate`: a host out of maintenance, and its VMs home."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from access.actions import Action
from access.gate import SYSTEM, Actor, System
from inventory.models import VM, Host
from inventory.services.hosts import host_set_availability
from inventory.syncing import guests_read
from jobs.engine.context import JobContext
from jobs.errors import CancelRequested, NotAdmitted, RightWithdrawn
from jobs.models import Job
from jobs.operations.base import Operation
from jobs.operations.hosts.drain import SHUTDOWN, Drain, declare, host_of, vms_words, written
from jobs.operations.hosts.pace import MOST_AT_ONCE, MOST_INTO_A_HOST, Route
from jobs.operations.hosts.parts import Parts
from jobs.operations.hosts.survey import OFF, Obstacle, plan_for
from jobs.operations.migrate.destinations import MIGRATE
from jobs.operations.params import boolean, choice, integer, only
from jobs.states import State

START = "vm.start"


class Activate(Operation):
    """The host takes VMs again. What its drain moved away comes home, what it shut down is started."""

    name = "host.activate"
    label = "Activate"
    action = Action.OPERATE_HOST
    target_kind = "host"
    also_bound_by = (MIGRATE,)

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "return_home", "at_once", "policy", "bandwidth_mib")
        return {
            "return_home": boolean(params, "return_home", default=True),
            "at_once": integer(params, "at_once", default=MOST_INTO_A_HOST, low=1, high=MOST_AT_ONCE),
            "policy": choice(params, "policy", ("gentle", "assured", "pause-ok"), default="gentle"),
            "bandwidth_mib": integer(params, "bandwidth_mib", default=0, low=0, high=1_000_000),
        }

    def admit(self, actor: Actor, target: Host, params: dict[str, Any]) -> None:
        if target.availability == Host.Availability.ACTIVE:
            raise NotAdmitted("already_active", f"{target} is active already.")
        if not target.is_online:
            raise NotAdmitted("host_offline", f"{target} does not answer at present.")

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
            guests_read(host, context.on(host))
            step.detail = f"{vms_words(VM.objects.filter(host=host).exclude(power_state__in=OFF).count())} run there"

    def execute(self, context: JobContext) -> None:
        host = host_of(context)
        with context.step("return", "Bring the VMs home", shown_at_once=False) as step:
            parts = Parts(context)
            step.detail = f"{vms_words(len(parts.succeeded(MIGRATE)))} moved, {len(parts.succeeded(START))} started"
            parts.stop_if_asked()
            declare(context, host, Host.Availability.RESTORING)
            guests = homeward(host)
            self._go_on(context, host, parts, guests)
            parts.wait_if_unfinished()

    def verify(self, context: JobContext) -> None:
        host = host_of(context)
        parts = Parts(context)
        left = len(context.job.journal.get("left", ()))
        context.result(returned=len(parts.succeeded(MIGRATE)), started=len(parts.succeeded(START)), left=left)
        declare(context, host, Host.Availability.ACTIVE)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """What has come home stays; the host takes VMs."""
        if not isinstance(error, CancelRequested | RightWithdrawn):
            return ""
        host = host_of(context)
        back = partial(host_set_availability, actor=SYSTEM, host=host, to=Host.Availability.ACTIVE, reason=str(error))
        context.ledger.commit(then=back)
        return f"{host} is active; what had not come home stays where it is."

    def _go_on(self, context: JobContext, host: Host, parts: Parts, guests: Homeward) -> None:
        """First what is off because of the drain, then the VMs of the fullest hosts, the small before the large."""
        extent = set(context.job.extent)
        off = VM.objects.filter(pk__in=guests.shut_down & extent).order_by("name", "pk")
        for vm in parts.ready(off, START):
            parts.begin(START, vm, {})
        away = VM.objects.filter(pk__in=guests.moved & extent).select_related("host").order_by("memory_mib", "pk")
        ready = {vm.pk: vm for vm in sorted(parts.ready(away, MIGRATE), key=_fullness, reverse=True)}
        plan = plan_for(ready.values(), {host.pk: Host.objects.get(pk=host.pk)})
        parts.left |= {pk: Obstacle("memory_short", f"{host} has no room for {ready[pk]}.") for pk in plan.homeless}
        routes = [Route(vm.pk, vm.host_id or 0, host.pk) for vm in ready.values() if vm.pk in plan.places]
        parts.begin_moves(routes, ready, {host.pk: host}, into_a_host=context.params["at_once"])
        home, to_come = len(parts.succeeded(MIGRATE)) + len(parts.succeeded(START)), len(off) + len(away)
        context.note(left=written(parts.left))
        percent = 100 * home // (home + to_come) if home + to_come else 0
        context.progress("returning", percent, shown_at_once=False, moved=home, to_go=to_come, left=len(parts.left))


@dataclass(frozen=True, slots=True)
class Homeward:
    """Ids of the VMs that a host's drains sent away or shut down, and that are as those left them."""

    moved: frozenset[int]
    shut_down: frozenset[int]


def homeward(host: Host) -> Homeward:
    """What is to come home to a host: of its drains since it was last active. A VM that was moved again, or started,
    by anybody since then has been given another place, and is let be.
    """
    drains = Job.objects.filter(host=host, operation=Drain.name)
    activated = Job.objects.filter(host=host, operation=Activate.name, state=State.SUCCEEDED)
    last = activated.order_by("-finished_at").first()
    if last is not None:
        drains = drains.filter(created_at__gt=last.finished_at)
    did = Job.objects.filter(parent__in=drains, state=State.SUCCEEDED).select_related("vm")
    moved = {job.vm_id for job in did.filter(operation=MIGRATE) if job.vm and _is_as_left(job, job.vm)}
    shut_down = {
        job.vm_id
        for job in did.filter(operation=SHUTDOWN)
        if job.vm and job.vm.host_id == host.pk and job.vm.power_state in OFF
    }
    return Homeward(frozenset(pk for pk in moved if pk), frozenset(pk for pk in shut_down if pk))


def _is_as_left(move: Job, vm: VM) -> bool:
    """Whether a VM runs where this job brought it, and nobody has moved it since."""
    since = Job.objects.filter(vm=vm, operation=MIGRATE, state=State.SUCCEEDED, finished_at__gt=move.finished_at)
    return vm.is_running and vm.host_id == move.params["destination"] and not since.exists()


def _fullness(vm: VM) -> float:
    """How full the host is that a VM is on, from 0 to 1."""
    host = vm.host
    return 1 - host.memory_free_mib / host.memory_mib if host is not None and host.memory_mib else 0.0
