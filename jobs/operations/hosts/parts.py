"""The parts of a job on a host, as its worker sees them in one pass: which are over, what may begin, and stopping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.utils import timezone

from access.errors import NotVisible, Refused
from hypervisor.errors import HypervisorError
from inventory.models import VM, Cluster, Host
from inventory.syncing import host_facts_read, host_unreachable
from jobs.engine.context import JobContext
from jobs.errors import CancelRequested, NotAdmitted, RightWithdrawn, TargetBusy, WaitForParts
from jobs.models import Job
from jobs.operations.hosts.pace import Caps, Route, Slots
from jobs.operations.hosts.survey import Obstacle, not_allowed
from jobs.operations.hosts.tries import Ended, next_try
from jobs.operations.migrate.surroundings import MIGRATE
from jobs.states import State

#: At what only others can change (a VM's other job, the caps, a host's room) it is looked again after a tenth of the
#: time that the job has lasted, but not sooner and not later than this.
SOONEST, LATEST = timedelta(seconds=3), timedelta(seconds=30)
#: What may be otherwise a moment later: the plan was made on figures that have changed since.
PASSING = frozenset(
    {"memory_short", "host_offline", "host_in_maintenance", "already_there", "no_destination", "placement_rule"}
)
#: A VM that was put off so often for something passing is given up.
MOST_PUT_OFF = 5


class SlotTaken(Exception):
    """Another job has begun a migration since this pass counted what is under way."""


class Parts:
    """One pass over a job's parts. What is to be done later, or is given up, is gathered here."""

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self._of: dict[int, list[Job]] = {}
        self._news = context.job.parts.news()  # before they are read: what comes in between is news still
        unread = ("journal", "result", "progress", "traceback")
        self.rows = list(context.job.parts.select_related("vm").defer(*unread).order_by("created_at", "id"))
        for row in self.rows:
            self._of.setdefault(row.vm_id or 0, []).append(row)
        self.under_way = {row.vm_id: row for row in self.rows if not row.is_over}
        self.left: dict[int, Obstacle] = {}
        self._later: list[datetime] = []
        self._begun = 0

    @property
    def is_going_on(self) -> bool:
        """Whether a part is under way, or something is to be done later."""
        return bool(self.under_way or self._begun or self._later)

    def succeeded(self, operation: str) -> list[Job]:
        """The parts of that kind that did what they were to do."""
        return [row for row in self.rows if row.operation == operation and row.state == State.SUCCEEDED]

    # -- stopping -----------------------------------------------------------------------------------------------

    def stop_if_asked(self) -> None:
        """Once a cancel was asked for, or the requester's right is gone: stop every part, wait for their ends, and then
        raise why (CancelRequested, RightWithdrawn). It stays decided, whatever happens to the right meanwhile.
        """
        context = self.context
        stopping = context.job.journal.get("stopping")
        if stopping is None:
            try:
                context.check_cancel()
                context.check_rights()
            except (CancelRequested, RightWithdrawn) as error:
                stopping = [error.code, str(error)]
                context.journal(stopping=stopping)
        if stopping is None:
            return
        code, why = stopping
        for part in self.under_way.values():
            if part.cancel_requested_at is None:
                context.cancel_part(part, why)
        if context.job.parts.unfinished().exists():
            raise WaitForParts(news=self._news)
        raise RightWithdrawn(why) if code == RightWithdrawn.code else CancelRequested(why)

    # -- going on -----------------------------------------------------------------------------------------------

    def ready(self, vms: Iterable[VM], operation: str) -> list[VM]:
        """Those that may be tried now; the others are under way, are tried later, or are given up."""
        now, found = timezone.now(), []
        for vm in vms:
            if vm.pk in self.under_way:
                continue
            ended = [_ended(row) for row in self._of.get(vm.pk, ()) if row.is_over and row.operation == operation]
            verdict = next_try(ended, now)
            if verdict is None:
                found.append(vm)
            elif isinstance(verdict, Obstacle):
                self.left[vm.pk] = verdict
            else:
                self._later.append(verdict)
        return found

    def barred(self, rooms: Mapping[int, Host]) -> dict[int, set[int]]:
        """VM -> hosts that it has failed to get to, unless that is all there are."""
        failed: dict[int, set[int]] = {}
        for row in self.rows:
            if row.operation == MIGRATE and row.is_over and row.state != State.SUCCEEDED and row.vm_id is not None:
                failed.setdefault(row.vm_id, set()).add(row.params["destination"])
        return {vm: hosts for vm, hosts in failed.items() if rooms.keys() - hosts}

    def begin_moves(
        self, routes: Iterable[Route], vms: Mapping[int, VM], hosts: Mapping[int, Host], caps: Caps
    ) -> None:
        """Have as many of these migrations begun as the caps allow, on fresh figures of their destinations. One that is
        not accepted takes nobody's place.
        """
        slots, read, held_back = Slots(caps, all_under_way()), set(), False
        params = {name: self.context.params[name] for name in ("policy", "bandwidth_mib")}
        for route in routes:
            if not slots.has_one_for(route):
                held_back = True
                continue
            if route.destination not in read:
                read.add(route.destination)
                facts_read(self.context, hosts[route.destination])
            asked = params | {"destination": route.destination}
            if self.begin(MIGRATE, vms[route.guest], asked, caps=caps, route=route):
                slots.take(route)
        if held_back and not self.under_way and not self._begun:
            self.look_again()  # else the end of one of these is when to look

    def begin(
        self, operation: str, vm: VM, params: Mapping[str, Any], *, caps: Caps | None = None, route: Route | None = None
    ) -> bool:
        """Submit one part, or note why not. Returns whether it was accepted."""
        context = self.context
        still_free = partial(_claim_slot, caps, route) if caps and route else None
        try:
            context.submit_part(operation, vm, params, first=still_free)
        except (TargetBusy, SlotTaken):
            self.look_again()
        except NotAdmitted as error:
            self._put_off(vm, Obstacle(error.code, str(error)))
        except Refused as error:
            on = vm if isinstance(error, NotVisible) else error.target
            self.left[vm.pk] = not_allowed(context.actor, error.action, on)
        else:
            self._begun += 1
            self.left.pop(vm.pk, None)
            return True
        return False

    def wait_if_unfinished(self) -> None:
        """Raise WaitForParts unless everything is done or given up."""
        if self.is_going_on:
            raise WaitForParts(news=self._news, until=min(self._later, default=None))

    def look_again(self) -> None:
        """Come back after a while, also if no part ends meanwhile."""
        now = timezone.now()
        lasted = now - (self.context.job.started_at or now)
        self._later.append(now + min(max(lasted / 10, SOONEST), LATEST))

    def _put_off(self, vm: VM, obstacle: Obstacle) -> None:
        """Give a VM up, or, for what may pass, only if it has been put off often enough."""
        counts: dict[str, int] = self.context.job.journal.get("put_off", {})
        count = counts.get(str(vm.pk), 0) + 1
        if obstacle.code not in PASSING or count >= MOST_PUT_OFF:
            self.left[vm.pk] = obstacle
            return
        self.context.note(put_off=counts | {str(vm.pk): count})
        self.look_again()


def facts_read(context: JobContext, host: Host) -> bool:
    """Read a host's own figures anew; whether it answered."""
    try:
        host_facts_read(host, context.on(host))
    except HypervisorError as error:
        host_unreachable(host, error)
        return False
    return True


def all_under_way() -> list[Route]:
    """Every migration that is queued or under way, whoever asked for it. One that is only verified sends nothing."""
    moving = Job.objects.working().filter(operation=MIGRATE)
    return [Route(*facts) for facts in moving.values_list("vm", "vm__host", "params__destination")]


def _claim_slot(caps: Caps, route: Route) -> None:
    """Count again, in the transaction that takes the slot and one such at a time in a cluster. Raises SlotTaken."""
    Cluster.objects.select_for_update().get(hosts=route.destination)
    if not Slots(caps, all_under_way()).has_one_for(route):
        raise SlotTaken


def _ended(row: Job) -> Ended:
    at = row.finished_at or timezone.now()
    return Ended(at) if row.state == State.SUCCEEDED else Ended(at, row.error_code or row.state, row.error_message)
