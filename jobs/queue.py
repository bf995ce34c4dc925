"""Nudging the workers. A lost nudge costs a delay, never a job: the sweeper nudges again."""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction

from jobs.models import Job

log = logging.getLogger(__name__)


def nudge_on_commit(job: Job) -> None:
    """Tell a worker about a queued job once the transaction has committed."""
    transaction.on_commit(partial(nudge, job), robust=True)


def nudge(job: Job) -> None:
    """Send the job's id to its queue. A broker that is down is logged and made up for by the sweeper."""
    from jobs.tasks import run_job

    try:
        run_job.apply_async(args=(str(job.pk),), queue=queue_of(job), retry=False)
    except Exception as error:  # whatever the broker's client raises: the job is safe in the database
        log.warning("job %s: the queue did not take the nudge: %s", job.pk, error)


def queue_of(job: Job) -> str:
    """The queue whose workers sit near the job's host."""
    host = job.host or (job.vm.host if job.vm else None)
    cluster = job.cluster or (host.cluster if host else None)
    return cluster.queue if cluster else "slipway"
