"""Deleting those snapshots whose time is over, each by a job like everybody's."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from inventory.models import Snapshot
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
    now, done = timezone.now(), set()
    due = Snapshot.objects.filter(expires_at__lte=now, is_baseline=False, missing_since=None)
    with acting_as(SYSTEM, via="system"):
        for snapshot in due.select_related("vm__host", "vm__segment").order_by("expires_at", "pk"):
            if snapshot.vm_id in done or _is_ruled(snapshot) or _failed_lately(snapshot):
                continue
            done.add(snapshot.vm_id)
            try:
                job_submit(actor=SYSTEM, operation=OPERATION, target=snapshot.vm, params={"snapshot": snapshot.name})
            except (NotAdmitted, TargetBusy) as error:
                log.info("%s: not deleted now: %s", snapshot, error)
                done.remove(snapshot.vm_id)
    return len(done)


def _is_ruled(snapshot: Snapshot) -> bool:
    segment = snapshot.vm.segment
    return segment is not None and segment.approval_rules.filter(operation=OPERATION).exists()


def _failed_lately(snapshot: Snapshot) -> bool:
    since = timezone.now() - RETRIED_AFTER
    tries = Job.objects.filter(vm=snapshot.vm_id, operation=OPERATION, requested_by=None, created_at__gt=since)
    return tries.filter(params__snapshot=snapshot.name).exists()
