"""Whose doing was it? Each change that was seen is a job's, or nobody's here: then it is recorded and alarms."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import SYSTEM, Actor, System
from audit.events import EventAction
from audit.record import record
from inventory.models import VM, SeenChange
from inventory.querysets import SeenChangeQuerySet
from jobs.errors import NotAdmitted
from jobs.models import Job

Kind, Verdict = SeenChange.Kind, SeenChange.Verdict

#: How long a change waits to be attributed: the job's own rows and the hosts' other announcements may come after it.
GRACE = timedelta(seconds=5)
#: How long before its start and after its end a job explains what is seen.
BEFORE, AFTER = timedelta(seconds=1), timedelta(seconds=15)
#: What a reading finds is told by an announcement of about the same time.
SAME_TIME = timedelta(seconds=30)
#: What is a job's own is kept this long: the record has the job's effects, and this is only how they looked.
KEPT = timedelta(days=7)
#: Changes handled in one pass.
BATCH = 500

_POWER = frozenset({Kind.STARTED, Kind.STOPPED, Kind.SUSPENDED, Kind.RESUMED, Kind.REBOOTED, Kind.CRASHED, Kind.POWER})
_PAUSE = frozenset({Kind.SUSPENDED, Kind.RESUMED, Kind.POWER})
#: No operation brings about that two hosts run a VM.
_EVERYTHING = frozenset(Kind) - {Kind.SPLIT}

#: What each operation brings about on its VM.
EXPLAINS: Mapping[str, frozenset[SeenChange.Kind]] = MappingProxyType(
    {
        "vm.start": frozenset({Kind.STARTED, Kind.RESUMED, Kind.POWER}),
        "vm.shutdown": frozenset({Kind.STOPPED, Kind.POWER}),
        "vm.force_off": frozenset({Kind.STOPPED, Kind.POWER}),
        "vm.reboot": _POWER,
        "snapshot.create": _PAUSE | {Kind.SNAPSHOT_TAKEN},
        "snapshot.delete": frozenset({Kind.SNAPSHOT_GONE}),
        "snapshot.revert": _POWER | {Kind.DEFINITION, Kind.METADATA},
        "vm.restore_definition": frozenset({Kind.DEFINITION}),
        "vm.patch": _EVERYTHING - {Kind.MOVED, Kind.VANISHED, Kind.RETURNED, Kind.APPEARED},
        "vm.migrate": _EVERYTHING - {Kind.REBOOTED, Kind.CRASHED},
        "vm.migrate_preview": frozenset(),
    }
)

#: Which announcements tell of a state that a reading found.
_TELLING: Mapping[str, frozenset[SeenChange.Kind]] = MappingProxyType(
    {
        "running": frozenset({Kind.STARTED, Kind.RESUMED}),
        "paused": frozenset({Kind.SUSPENDED}),
        "shut_off": frozenset({Kind.STOPPED, Kind.CRASHED}),
        "crashed": frozenset({Kind.CRASHED}),
        "suspended": frozenset({Kind.SUSPENDED}),
    }
)


def attribute() -> int:
    """Attribute what was seen long enough ago. Returns how many changes came from outside."""
    waiting = SeenChange.objects.filter(verdict=Verdict.OPEN, seen_at__lte=timezone.now() - GRACE)
    outside = 0
    for change in waiting.select_related("vm__segment").order_by("seen_at", "pk")[:BATCH]:
        with transaction.atomic():
            verdict = _verdict(change)
            silent = change.vm.segment.silent if change.vm.segment else ()
            alarms = change.kind == Kind.SPLIT or change.group not in silent
            waits = SeenChange.objects.filter(pk=change.pk, verdict=Verdict.OPEN)
            if not waits.update(verdict=verdict, alarms=alarms):
                continue  # another sweeper was quicker
            if verdict == Verdict.OUTSIDE:
                outside += 1
                facts = {"change": change.kind, "host": change.host_name, "seen_at": change.seen_at.isoformat()}
                record(
                    EventAction.VM_CHANGED_OUTSIDE,
                    target=change.vm,
                    actor=SYSTEM,
                    before=change.before,
                    after=change.after,
                    detail=facts | {"by": "outside the portal", "alarm": alarms},
                )
    past = SeenChange.objects.filter(verdict__in=[Verdict.JOB, Verdict.TOLD], seen_at__lt=timezone.now() - KEPT)
    past.delete()
    return outside


@transaction.atomic
def changes_acknowledge(*, actor: Actor, vm: VM, up_to: int | None = None, note: str = "") -> int:
    """Take note of what was changed on a VM from outside. Returns how many changes that were.

    `up_to` is the id of the last change that the actor saw: what came since then stays open. Needs APPROVE on the VM,
    or READ_AUDIT on everything. That two hosts ran it is for who may approve, once one host does: it lets work on the
    VM go on. Raises NotVisible, NotAllowed, NotAdmitted.
    """
    if not gate.can(actor, Action.READ_AUDIT):
        gate.authorise(actor, Action.APPROVE, vm)
    vm = VM.objects.select_for_update(of=("self",)).select_related("segment").get(pk=vm.pk)
    open_changes = SeenChange.objects.alarming().filter(vm=vm)
    if up_to is not None:
        open_changes = open_changes.filter(pk__lte=up_to)
    open_changes = _without_split(actor, vm, open_changes)
    by = None if isinstance(actor, System) else actor
    count = open_changes.update(acknowledged_by=by, acknowledged_at=timezone.now(), note=note)
    if not count and vm.is_split:
        raise NotAdmitted("split_brain", f"Two hosts say that they run {vm}; stop the wrong one first.")
    if not count:
        raise NotAdmitted("nothing_open", f"Nothing that changed on {vm} from outside waits for somebody.")
    record(EventAction.VM_CHANGE_ACKNOWLEDGED, target=vm, actor=actor, reason=note, detail={"changes": count})
    return count


def _without_split(actor: Actor, vm: VM, changes: SeenChangeQuerySet) -> SeenChangeQuerySet:
    """Leave out that two hosts ran the VM where it is not yet to be settled, or not by this actor; else settle it."""
    if vm.split_at is None:
        return changes
    if vm.is_split or not gate.can(actor, Action.APPROVE, vm):
        return changes.exclude(kind=Kind.SPLIT)
    newer = SeenChange.objects.filter(vm=vm, kind=Kind.SPLIT, acknowledged_at=None).exclude(pk__in=changes)
    if not newer.exists():
        VM.objects.filter(pk=vm.pk).update(split_at=None)
    return changes


def _verdict(change: SeenChange) -> SeenChange.Verdict:
    explaining = [name for name, kinds in EXPLAINS.items() if change.kind in kinds]
    begun = Q(started_at__lte=change.seen_at + BEFORE)
    lasting = Q(finished_at=None) | Q(finished_at__gte=change.seen_at - AFTER)
    # A job that was refused before its first effect brought nothing about.
    acting = Job.objects.filter(begun, lasting, vm=change.vm_id, operation__in=explaining, journal__began=True)
    if acting.exists():
        return Verdict.JOB
    if change.kind == Kind.POWER and _announced(change):
        return Verdict.TOLD
    return Verdict.OUTSIDE


def _announced(change: SeenChange) -> bool:
    """Whether a host's announcement tells of the same, with more detail."""
    telling = _TELLING.get(change.after.get("state", ""), frozenset())
    near = Q(seen_at__gte=change.seen_at - SAME_TIME, seen_at__lte=change.seen_at + SAME_TIME)
    return SeenChange.objects.filter(near, vm=change.vm_id, kind__in=telling).exists()
