"""What people say about snapshots that are there."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import Actor
from audit.events import EventAction
from audit.record import record
from inventory.errors import InvalidInventoryRequest
from inventory.models import Snapshot

#: A snapshot that is to go by itself does so within a year.
LONGEST_HOURS = 365 * 24


@transaction.atomic
def snapshot_set_expiry(*, actor: Actor, snapshot: Snapshot, hours: int | None) -> Snapshot:
    """Say in how many hours a snapshot is deleted by itself; None: not at all. Needs DELETE_SNAPSHOT on its VM. Raises
    InvalidInventoryRequest: a baseline stays.
    """
    gate.authorise(actor, Action.DELETE_SNAPSHOT, snapshot.vm)
    if hours is not None and not 1 <= hours <= LONGEST_HOURS:
        raise InvalidInventoryRequest(f"It goes in 1 to {LONGEST_HOURS} hours, or not at all.", field="hours")
    snapshot = Snapshot.objects.select_for_update(of=("self",)).select_related("vm__segment").get(pk=snapshot.pk)
    if snapshot.is_baseline and hours is not None:
        raise InvalidInventoryRequest("A baseline is kept.", field="hours")
    before, after = snapshot.expires_at, None if hours is None else timezone.now() + timedelta(hours=hours)
    if before != after:
        snapshot.expires_at = after
        snapshot.save(update_fields=["expires_at"])
        record(
            EventAction.VM_CHANGED,
            target=snapshot.vm,
            actor=actor,
            before={"snapshot": snapshot.name, "expires_at": before.isoformat() if before else None},
            after={"snapshot": snapshot.name, "expires_at": after.isoformat() if after else None},
        )
    return snapshot
