"""Workers and sweeper for jobs that are made of jobs: everything that is queued is carried out, until nothing is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from jobs import sweeper
from jobs.engine import runner
from jobs.models import Job
from jobs.states import State

#: More passes than any of the tests' jobs can need.
MOST = 400


def work(job: Job, *, meanwhile: Callable[[], None] = lambda: None) -> Job:
    """Carry out a job and its parts, one queued job at a time, oldest first; what waits for a time gets it at once.
    `meanwhile` is called before each.
    """
    for _ in range(MOST):
        meanwhile()
        queued = Job.objects.filter(state=State.QUEUED).order_by("created_at", "id").first()
        if queued is not None:
            runner.run(queued.pk)
            continue
        if Job.objects.get(pk=job.pk).is_over:
            break
        make_due()
        sweeper.sweep()
    job.refresh_from_db()
    assert job.is_over, (job.state, job.phase)
    return job


def make_due() -> None:
    """Whatever waits for a time has waited long enough; tries that failed did so long ago."""
    past = timezone.now() - timedelta(hours=1)
    Job.objects.filter(state__in=[State.LOST, State.WAITING], not_before__isnull=False).update(not_before=past)
    Job.objects.filter(parent__isnull=False, state=State.FAILED, finished_at__gt=past).update(finished_at=past)
