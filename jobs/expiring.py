"""Deleting those snapshots whose time is over, each by a job like everybody's."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from inventory.models import ApprovalRule, Host, Snapshot
from jobs.errors import NotAdmitted, TargetBusy
from jobs.models import Job
from jobs.services import job_submit

log = logging.getLogger(__name__)

OPERATION = "snapshot.delete"
#: A try that failed is repeated after this time.
RETRIED_AFTER = timedelta(hours=1)


def delete_due() -> int:
    """Submit a job for one due snapshot of each VM. Returns how many were submitted. Where deleting needs somebody's
    approval, nothing is deleted by itself.
    """
    now = timezone.now()
    tried, done = _tried_lately(now), set()
    with acting_as(SYSTEM, via="system"):
        for snapshot in _due(now):
            if snapshot.vm_id in done or (snapshot.vm_id, snapshot.name) in tried:
                continue
            try:
                job_submit(actor=SYSTEM, operation=OPERATION, target=snapshot.vm, params={"snapshot": snapshot.name})
            except (NotAdmitted, TargetBusy) as error:
                log.info("%s: not deleted now: %s", snapshot, error)
            else:
                done.add(snapshot.vm_id)
    return len(done)


def _due(now: datetime) -> QuerySet[Snapshot]:
    """Those whose time is over, of VMs that answer and that nobody works on."""
    due = Snapshot.objects.filter(
        ~Exists(ApprovalRule.objects.filter(segment=OuterRef("vm__segment"), operation=OPERATION)),
        ~Exists(Job.objects.active().filter(vm=OuterRef("vm"))),
        expires_at__lte=now,
        is_baseline=False,
        missing_since=None,
        vm__missing_since=None,
        vm__host__connection=Host.Connection.ONLINE,
    )
    return due.select_related("vm__host", "vm__segment").order_by("expires_at", "pk")


def _tried_lately(now: datetime) -> set[tuple[int, str]]:
    """(VM, snapshot) of which Slipway has begun to delete it within the time after which it tries again."""
    tries = Job.objects.filter(operation=OPERATION, requested_by=None, created_at__gt=now - RETRIED_AFTER)
    return set(tries.values_list("vm", "params__snapshot"))
