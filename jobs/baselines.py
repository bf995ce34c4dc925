"""Baselines by themselves: a VM whose segment asks for one gets it, at a moment that the segment allows."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from hypervisor.types import PowerState
from inventory.models import VM, BaselinePolicy, Segment, Snapshot
from jobs.errors import NotAdmitted, TargetBusy
from jobs.models import Job
from jobs.operations.snapshots.pause import Forecast, pause_foretold
from jobs.services import job_submit
from jobs.states import State

log = logging.getLogger(__name__)

OPERATION = "snapshot.create"
#: A try that failed is repeated after an hour, then after two, four ..., and once a day in the end.
RETRIED_AFTER, RETRIED_LATEST = timedelta(hours=1), timedelta(days=1)
#: How far back failed tries are counted.
TRIES_COUNT_FOR = timedelta(days=7)
#: So many are taken on a host at once: each writes a guest's memory to its disks.
AT_ONCE_ON_A_HOST = 1


@dataclass(frozen=True, slots=True)
class Tries:
    """How earlier tries went: how many failed, the last one's end and what it said."""

    failed: int = 0
    ended_at: datetime | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether a VM is to get its baseline now, and if not, why."""

    is_due: bool
    why: str


def take_due() -> int:
    """Submit a job for each VM whose baseline is due, one on a host at a time. Returns how many were submitted."""
    now, busy, submitted = timezone.now(), _busy_hosts(), 0
    with acting_as(SYSTEM, via="system"):
        for vm in candidates().select_related("segment", "host").order_by("pk"):
            if vm.segment is None or busy[vm.host_id] >= AT_ONCE_ON_A_HOST:
                continue
            found = outlook(vm, now)
            if found is not None and found.is_due and _submitted(vm, vm.segment):
                submitted += 1
                busy[vm.host_id] += 1
    return submitted


def candidates() -> QuerySet[VM]:
    """VMs without a baseline whose segment, or somebody, asks for one."""
    asked = Q(segment__baseline_policy=BaselinePolicy.ADOPTED) | Q(installed_at__isnull=False)
    has_one = Exists(Snapshot.objects.filter(vm=OuterRef("pk"), is_baseline=True))
    return VM.objects.filter(~has_one, asked, segment__isnull=False, missing_since=None, host__isnull=False)


def outlook(vm: VM, now: datetime) -> Outlook | None:
    """When a VM will get its baseline, in a sentence; None for one that has it."""
    present = vm.baseline
    if present is not None and present.missing_since is None:
        return None
    if present is not None:
        return Outlook(False, f"Its host has lost its baseline “{present.name}”; a person has to see why.")
    job = Job.objects.unfinished().filter(vm=vm, operation=OPERATION, params__baseline=True).first()
    if job is not None:
        waits = job.state == State.AWAITING_APPROVAL
        return Outlook(False, "It waits for somebody's approval." if waits else "It is being taken.")
    why = _asked_for(vm) or _standing(vm)
    if why or vm.segment is None:
        return Outlook(False, why)
    return moment(vm.segment.longest_baseline_pause, pause_foretold(vm), _tries(vm, now), now)


def moment(longest_pause: int, pause: Forecast, tries: Tries, now: datetime) -> Outlook:
    """Whether now is the moment for a VM that asks for its baseline and could have it. Pure."""
    if tries.ended_at is not None and tries.failed:
        again = tries.ended_at + min(RETRIED_AFTER * 2 ** min(tries.failed - 1, 10), RETRIED_LATEST)
        if now < again:
            return Outlook(False, f"Taking it failed, and is tried again from {again:%Y-%m-%d %H:%M} UTC: {tries.said}")
    if pause.seconds > longest_pause:
        return Outlook(
            False,
            f"It would stand still for {pause}, by {pause.basis}; its segment allows {longest_pause} s. It is taken "
            "once the VM is off.",
        )
    return Outlook(True, "It is taken shortly; on each host one after the other.")


def _asked_for(vm: VM) -> str:
    """Why nobody takes it by itself; "" where that is to be done."""
    if vm.segment is None:
        return "It is in no segment, so none is taken by itself."
    if vm.segment.baseline_policy != BaselinePolicy.ADOPTED and vm.installed_at is None:
        return "It is taken once somebody marks the VM as installed."
    if vm.segment.approval_rules.filter(operation=OPERATION).exists():
        return "Snapshots need somebody's approval in its segment, so none is taken by itself."
    return ""


def _standing(vm: VM) -> str:
    """Why nothing can be taken of it at present; "" where something can."""
    if vm.why_stopped:
        return vm.why_stopped
    if vm.host is None or vm.missing_since is not None:
        return "No host shows it at present."
    if not vm.host.is_online:
        return "Its host does not answer at present."
    if vm.power_state not in (PowerState.RUNNING, PowerState.SHUT_OFF):
        return f"It is {vm.get_power_state_display()}; it must be running or off."
    return ""


def _tries(vm: VM, now: datetime) -> Tries:
    """Those of the last days, by Slipway itself."""
    ended = Job.objects.filter(
        vm=vm,
        operation=OPERATION,
        params__baseline=True,
        requested_by=None,
        state__in=(State.FAILED, State.ERRORED, State.CANCELLED),
        finished_at__gt=now - TRIES_COUNT_FOR,
    ).order_by("-finished_at")
    last = ended.first()
    return Tries(ended.count(), last.finished_at, last.error_message) if last else Tries()


def _busy_hosts() -> Counter[int | None]:
    """Host -> how many snapshots are being taken there."""
    return Counter(Job.objects.active().filter(operation=OPERATION).values_list("vm__host", flat=True))


def _submitted(vm: VM, segment: Segment) -> bool:
    params = {"baseline": True, "description": "Taken by itself, to fall back to"}
    longest = {"longest_pause_seconds": segment.longest_baseline_pause}
    try:
        job_submit(actor=SYSTEM, operation=OPERATION, target=vm, params=params | longest)
    except (NotAdmitted, TargetBusy) as error:
        log.info("VM %s: no baseline now: %s", vm, error)
        return False
    return True
