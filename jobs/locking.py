"""Taking the locks of a job's target: one job at a time works on a resource."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from jobs.errors import TargetBusy
from jobs.models import Job, JobLock


def lock(job: Job, resources: list[str]) -> None:
    """Take the resources for a job, within the transaction in progress. Raises TargetBusy."""
    for resource in sorted(resources):
        try:
            with transaction.atomic():
                JobLock.objects.create(resource=resource, job=job)
        except IntegrityError as error:
            holder = JobLock.objects.select_related("job").filter(resource=resource).first()
            raise TargetBusy(job.target, holder.job if holder else None) from error
