"""What VMs leave behind on a host, and how long it stays."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import Actor
from audit.events import EventAction
from audit.record import record
from inventory.errors import InventoryConflict
from inventory.models import VM, Host, Leftover

#: How long a file is kept that nobody has said anything about.
KEPT_FOR = timedelta(hours=24)


def leftover_noted(host: Host, vm: VM, *, path: str, size_bytes: int, since: datetime) -> None:
    """Note a file that stayed behind. What was noted at that place before `since` was another file, or the same one in
    an earlier state: it has its time anew, but stays if somebody wanted that. Later, noting it again changes nothing.
    """
    now = timezone.now()
    facts = {"vm": vm, "vm_name": vm.name, "size_bytes": size_bytes, "left_at": now, "remove_after": now + KEPT_FOR}
    found, made = Leftover.objects.get_or_create(host=host, path=path, removed_at=None, defaults=facts)
    if made or found.left_at >= since:
        return
    if found.remove_after is None:
        facts["remove_after"] = None
    Leftover.objects.filter(pk=found.pk).update(**facts, why_not="", removing_at=None)


def leftover_claimed(leftover: Leftover) -> bool:
    """Begin to remove a file: from here on nobody can keep it. False if its time is not over by now, or it is gone."""
    now = timezone.now()
    due = Leftover.objects.filter(pk=leftover.pk, removed_at=None, remove_after__lte=now)
    return bool(due.update(removing_at=now))


def leftover_settled(leftover: Leftover, *, why_not: str, again_at: datetime) -> None:
    """Write down that a file was removed, or why not and when that is tried again; one that is wanted stays so."""
    there = Leftover.objects.filter(pk=leftover.pk, removed_at=None)
    if not why_not:
        there.update(removed_at=timezone.now(), removing_at=None)
        return
    there.filter(remove_after__isnull=False).update(why_not=why_not[:300], remove_after=again_at, removing_at=None)


def leftovers_of(host: Host, vms: QuerySet[VM]) -> tuple[list[Leftover], int]:
    """What these VMs left on a host and is still there, and how many files others did: a file is named after its VM."""
    there = Leftover.objects.filter(host=host, removed_at=None)
    seen = list(there.filter(vm__in=vms))
    return seen, there.count() - len(seen)


@transaction.atomic
def leftover_keep(*, actor: Actor, leftover: Leftover) -> None:
    """Have a file stay for good. Needs OPERATE_HOST on its host. Raises InventoryConflict when it is gone, or
    about to be.
    """
    gate.authorise(actor, Action.OPERATE_HOST, leftover.host)
    now = Leftover.objects.select_for_update(of=("self",)).get(pk=leftover.pk)
    if now.removed_at is not None:
        raise InventoryConflict(f"{now} was removed already.")
    if now.removing_at is not None:
        raise InventoryConflict(f"{now} is being removed; it is too late to keep it.")
    if now.remove_after is None:
        return
    Leftover.objects.filter(pk=now.pk).update(remove_after=None, why_not="")
    before, after = {"remove_after": now.remove_after.isoformat()}, {"remove_after": None}
    record(
        EventAction.HOST_CHANGED, target=now.host, actor=actor, before=before, after=after, detail={"file": now.path}
    )
