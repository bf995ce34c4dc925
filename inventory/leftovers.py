"""What VMs leave behind on a host, and how long it stays."""

from __future__ import annotations

from datetime import timedelta

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


def leftover_noted(host: Host, vm: VM, *, path: str, size_bytes: int) -> None:
    """Note a file that stayed behind; noting it again changes nothing."""
    now = timezone.now()
    facts = {"vm": vm, "vm_name": vm.name, "size_bytes": size_bytes, "left_at": now, "remove_after": now + KEPT_FOR}
    Leftover.objects.get_or_create(host=host, path=path, removed_at=None, defaults=facts)


def leftovers_of(host: Host, vms: QuerySet[VM]) -> tuple[list[Leftover], int]:
    """What these VMs left on a host and is still there, and how many files others did: a file is named after its VM."""
    there = Leftover.objects.filter(host=host, removed_at=None)
    seen = list(there.filter(vm__in=vms))
    return seen, there.count() - len(seen)


@transaction.atomic
def leftover_keep(*, actor: Actor, leftover: Leftover) -> None:
    """Have a file stay for good. Needs OPERATE_HOST on its host. Raises InventoryConflict when it is gone."""
    gate.authorise(actor, Action.OPERATE_HOST, leftover.host)
    now = Leftover.objects.select_for_update(of=("self",)).get(pk=leftover.pk)
    if now.removed_at is not None:
        raise InventoryConflict(f"{now} was removed already.")
    if now.remove_after is None:
        return
    Leftover.objects.filter(pk=now.pk).update(remove_after=None, why_not="")
    before, after = {"remove_after": now.remove_after.isoformat()}, {"remove_after": None}
    record(
        EventAction.HOST_CHANGED, target=now.host, actor=actor, before=before, after=after, detail={"file": now.path}
    )
