"""A worker that dies wherever it writes or acts: an exception that no handler takes, as none takes SIGKILL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.utils import timezone

from jobs import sweeper
from jobs.engine import runner
from jobs.engine.context import JobContext
from jobs.engine.ledger import Ledger
from jobs.models import Job
from jobs.states import LEASED, State
from tests.jobs.crew import MOST, make_due


class Killed(BaseException):
    """The worker is gone."""


class Reaper:
    """Lets the worker die once, at the point that is due."""

    def __init__(self, monkeypatch):
        self.due: int | None = None
        self.passed = 0
        commit, effect = Ledger.commit, JobContext.undo_effect

        def mortal_commit(ledger, **columns):
            self.pass_by()
            commit(ledger, **columns)
            self.pass_by()

        def mortal_effect(context, call, do, **detail):
            value = effect(context, call, do, **detail)
            self.pass_by()
            return value

        monkeypatch.setattr(Ledger, "commit", mortal_commit)
        monkeypatch.setattr(JobContext, "undo_effect", mortal_effect)

    def pass_by(self):
        self.passed += 1
        if self.passed == self.due:
            raise Killed

    def hits(self, estate, operation, point, **params) -> Job | None:
        """Run a job that is hit at this point and taken up again; None when it was over before."""
        self.due, self.passed = point, 0
        job = estate.submit(operation, **params)
        try:
            estate.run(job)
        except Killed:
            pass
        else:
            return None
        finally:
            self.due = None
        if Job.objects.get(pk=job.pk).is_over:  # hit after the last commit: nothing was left to do
            return Job.objects.get(pk=job.pk)
        Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
        sweeper.sweep()
        job = estate.run(Job.objects.get(pk=job.pk))
        assert job.attempts == 2
        return job


def mortal_work(job: Job, reaper: Reaper) -> Job:
    """As `crew.work`, where a worker may die; its lease runs out at once."""
    for _ in range(MOST):
        queued = Job.objects.filter(state=State.QUEUED).order_by("created_at", "id").first()
        if queued is None:
            job.refresh_from_db()
            if job.is_over:
                return job
            make_due()
            sweeper.sweep()
            continue
        try:
            runner.run(queued.pk)
        except Killed:
            Job.objects.filter(state__in=LEASED).update(heartbeat_at=timezone.now() - timedelta(hours=1))
            sweeper.sweep()
    raise AssertionError(f"{job.pk} did not come to its end: {Job.objects.get(pk=job.pk).state}")


def points(reaper: Reaper, step: int) -> Iterator[int]:
    """Every step-th point there is; how many there are is learnt from the first that is not reached."""
    point = 1
    while True:
        reaper.due, reaper.passed = point, 0
        yield point
        if reaper.passed < point:
            return
        point += step
