"""The sweeper: every few seconds, makes sure that no job waits for a message that was lost or for a worker that is
gone.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from jobs.approvals import expire_unapproved
from jobs.attribution import attribute
from jobs.errors import Fenced
from jobs.models import Job
from jobs.queue import nudge
from jobs.states import LEASED, State
from jobs.transitions import advance, wake

log = logging.getLogger(__name__)

#: A queued job that no worker took within this time is nudged again.
NUDGE_AGAIN_AFTER = timedelta(seconds=5)


def sweep() -> dict[str, int]:
    """One pass: reap lost leases, take up lost jobs that are due, wake what waits for nothing any more, nudge
    forgotten ones, end what nobody approved, attribute what was seen to change. Returns how many of each."""
    with acting_as(SYSTEM, via="system"):
        return {
            "reaped": reap(),
            "taken_up": take_up(),
            "woken": wake_waiting(),
            "nudged": nudge_forgotten(),
            "expired": expire_unapproved(),
            "outside": attribute(),
        }


def reap() -> int:
    """Running jobs whose heartbeat is older than the lease have lost their worker."""
    stale = timezone.now() - timedelta(seconds=settings.SLIPWAY_LEASE_SECONDS)
    count = 0
    for job in Job.objects.filter(state__in=LEASED, heartbeat_at__lt=stale):
        why = f"The worker {job.worker} stopped answering."
        # A job that takes its workers with it is not given to the next one at once.
        pause = timedelta(seconds=min(2 ** (job.attempts - 1) - 1, 60))
        count += _try(job, State.LOST, reason=why, error_message=why, not_before=timezone.now() + pause)
    return count


def take_up() -> int:
    """Lost jobs that are due go back to the queue; the next worker resumes from the journal and asks the hosts what
    is true.
    """
    count = 0
    due = Q(not_before=None) | Q(not_before__lte=timezone.now())
    for job in Job.objects.filter(due, state=State.LOST).select_related(
        "vm__host__cluster", "host__cluster", "cluster"
    ):
        if _try(job, State.QUEUED, reason="Taken up again.", error_message="", not_before=None):
            _nudge(job)
            count += 1
    return count


def wake_waiting() -> int:
    """Jobs that wait for parts and are due, or have none left that could wake them."""
    unfinished = Job.objects.unfinished().filter(parent=OuterRef("pk"))
    due = Q(not_before__lte=timezone.now()) | Q(not_before=None) & ~Exists(unfinished)
    return sum(wake(job) for job in Job.objects.filter(due, state=State.WAITING))


def nudge_forgotten() -> int:
    """Queued jobs whose nudge was lost."""
    count = 0
    forgotten = Q(nudged_at=None) | Q(nudged_at__lt=timezone.now() - NUDGE_AGAIN_AFTER)
    for job in Job.objects.filter(forgotten, state=State.QUEUED).select_related(
        "vm__host__cluster", "host__cluster", "cluster"
    ):
        _nudge(job)
        count += 1
    return count


def _nudge(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(nudged_at=timezone.now())
    nudge(job)


def _try(job: Job, to: State, **changes: object) -> int:
    try:
        advance(job, to, **changes)  # type: ignore[arg-type]  # columns of the job
    except Fenced:
        log.info("job %s changed while it was swept", job.pk)
        return 0
    return 1
