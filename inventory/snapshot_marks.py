"""What Slipway adds to a snapshot: the mark of the job that took it, and which one is the baseline."""

from __future__ import annotations

import re
from uuid import UUID

from django.db import transaction

from inventory.models import VM, Snapshot

_MARK = re.compile(r"\s*\[slipway:([0-9a-f-]{36})\]\s*$")


def described(description: str, job_id: UUID) -> str:
    """A snapshot's description with the job's mark behind it."""
    return f"{description} [slipway:{job_id}]".strip()


def unmarked(description: str) -> str:
    """The description as a person wrote it."""
    return _MARK.sub("", description)


@transaction.atomic
def snapshot_baseline_set(snapshot: Snapshot) -> None:
    """Make a snapshot its VM's baseline, in place of any other."""
    Snapshot.objects.filter(vm=snapshot.vm, is_baseline=True).update(is_baseline=False)
    Snapshot.objects.filter(pk=snapshot.pk).update(is_baseline=True, expires_at=None)


def snapshot_forgotten(vm: VM, name: str) -> None:
    """Drop the row of a snapshot that was deleted on purpose."""
    Snapshot.objects.filter(vm=vm, name=name).delete()
