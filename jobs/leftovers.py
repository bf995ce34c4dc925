"""Having the files removed that VMs left behind, without anybody asking."""

from __future__ import annotations

from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from inventory.models import Host
from jobs.errors import NotAdmitted, TargetBusy
from jobs.operations.hosts.leftovers import REMOVE_LEFTOVERS
from jobs.services import job_submit


def remove_due() -> int:
    """Submit a job for each host on which something is due. Returns how many."""
    due = Host.objects.filter(leftovers__removed_at=None, leftovers__remove_after__lte=timezone.now()).distinct()
    return sum(_submitted(host) for host in due)


def _submitted(host: Host) -> bool:
    with acting_as(SYSTEM, via="system"):
        try:
            job_submit(actor=SYSTEM, operation=REMOVE_LEFTOVERS, target=host)
        except (NotAdmitted, TargetBusy):
            return False
        return True
