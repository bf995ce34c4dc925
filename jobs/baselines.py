"""Baselines by themselves: a VM whose segment asks for one gets it, at a moment that the segment allows."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from hypervisor.types import PowerState
from inventory.models import VM, ApprovalRule, BaselinePolicy, Host, Snapshot
from jobs.errors import NotAdmitted, TargetBusy
from jobs.models import Job
from jobs.operations.snapshots.checks import STEADY
from jobs.operations.snapshots.pause import NO_PAUSE, Forecast, foretold, last_saves, pause_foretold, saves_on
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
        for vm, host in _promising(now):
            if busy[host] < AT_ONCE_ON_A_HOST and _submitted(vm, host, now):
                submitted += 1
                busy[host] += 1
    return submitted


def candidates() -> QuerySet[VM]:
    """VMs without a baseline whose segment, or somebody, asks for one."""
    asked = Q(segment__baseline_policy=BaselinePolicy.ADOPTED) | Q(installed_at__isnull=False)
    has_one = Exists(Snapshot.objects.filter(vm=OuterRef("pk"), is_baseline=True))
    return VM.objects.filter(~has_one, asked, segment__isnull=False, missing_since=None, host__isnull=False)


def _promising(now: datetime) -> list[tuple[int, int]]:
    """(VM, its host) of those that may be due, by as many statements as there are hosts, however many VMs wait for
    another moment. `outlook` decides on each.
    """
    vms = candidates().filter(
        ~Exists(Job.objects.active().filter(vm=OuterRef("pk"))),
        ~Exists(ApprovalRule.objects.filter(segment=OuterRef("segment"), operation=OPERATION)),
        host__connection=Host.Connection.ONLINE,
        is_split=False,
        split_at=None,
        power_state__in=STEADY,
    )
    tried = _tries_by_vm(now)
    own, on_hosts, found = last_saves(vms), {}, []
    facts = ("pk", "host", "power_state", "memory_mib", "segment__longest_baseline_pause")
    for vm, host, state, memory_mib, longest in vms.order_by("pk").values_list(*facts):
        pause = NO_PAUSE
        if state == PowerState.RUNNING:
            if host not in on_hosts:
                on_hosts[host] = saves_on(host)
            pause = foretold(memory_mib, own.get(vm), on_hosts[host])
        if moment(longest, pause, tried.get(vm, Tries()), now).is_due:
            found.append((vm, host))
    return found


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
    if not why and Job.objects.active().filter(vm=vm).exists():
        why = "Another job works on it."
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
    if vm.power_state not in STEADY:
        return f"It is {vm.get_power_state_display()}; it must be running or off."
    return ""


def _tries(vm: VM, now: datetime) -> Tries:
    """Those of the last days, by Slipway itself."""
    ended = _failed(now).filter(vm=vm).order_by("-finished_at")
    last = ended.first()
    return Tries(ended.count(), last.finished_at, last.error_message) if last else Tries()


def _tries_by_vm(now: datetime) -> dict[int, Tries]:
    """The same for all VMs, but for what was said."""
    ended = _failed(now).order_by().values("vm").annotate(count=Count("pk"), last=Max("finished_at"))
    return {row["vm"]: Tries(row["count"], row["last"]) for row in ended}


def _failed(now: datetime) -> QuerySet[Job]:
    return Job.objects.filter(
        operation=OPERATION,
        params__baseline=True,
        requested_by=None,
        state__in=(State.FAILED, State.ERRORED, State.CANCELLED),
        finished_at__gt=now - TRIES_COUNT_FOR,
    )


def _busy_hosts() -> Counter[int | None]:
    """Host -> how many snapshots are being taken there."""
    return Counter(Job.objects.active().filter(operation=OPERATION).values_list("vm__host", flat=True))


@transaction.atomic
def _submitted(pk: int, host: int, now: datetime) -> bool:
    """Submit the job if the VM is due and the host has room for it: counted again under the host's row, so that of two
    looks at the same moment the second sees what the first has submitted.
    """
    Host.objects.select_for_update(of=("self",)).filter(pk=host).first()
    vm = candidates().select_related("segment", "host").filter(pk=pk, host=host).first()
    if vm is None or vm.segment is None or _busy_hosts()[host] >= AT_ONCE_ON_A_HOST:
        return False
    found = outlook(vm, now)
    if found is None or not found.is_due:
        return False
    params = {"baseline": True, "description": "Taken by itself, to fall back to"}
    longest = {"longest_pause_seconds": vm.segment.longest_baseline_pause}
    try:
        job_submit(actor=SYSTEM, operation=OPERATION, target=vm, params=params | longest)
    except (NotAdmitted, TargetBusy) as error:
        log.info("VM %s: no baseline now: %s", vm, error)
        return False
    return True
