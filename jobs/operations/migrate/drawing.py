"""Keeping the course of a migration: few enough points for a picture, however long it lasts."""

from __future__ import annotations

from django.utils import timezone

from hypervisor.types import MigrationProgress
from jobs.models import Curve, Job

#: Points kept at most; beyond that every second one goes, and from then on half as many are taken.
MOST_POINTS = 240
#: Least time between two points at first, in seconds.
FIRST_SPACING = 0.2

Point = list[float]


class Course:
    """The points of one job's migration; those of an earlier worker are gone on from."""

    def __init__(self, job: Job) -> None:
        self._job = job
        kept = Curve.objects.filter(job=job).first() if job.attempts > 1 else None
        self.points: list[Point] = kept.points if kept else []
        self._spacing = FIRST_SPACING
        self._is_new = False

    def add(self, progress: MigrationProgress, limit_ms: int) -> None:
        """Take a reading in, if the last one is long enough ago."""
        began = self._job.started_at or self._job.created_at
        at = round((timezone.now() - began).total_seconds(), 2)
        if self.points and at - self.points[-1][0] < self._spacing:
            return
        left, link, dirt = progress.memory_remaining_bytes, progress.memory_bps, progress.dirty_bps
        self.points.append([at, left, link, dirt, limit_ms, progress.throttle_percent])
        self._is_new = True
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self._spacing *= 2

    def save(self) -> None:
        """Write the points, if there are new ones; within the transaction that checks the fence."""
        if self._is_new:
            Curve.objects.update_or_create(job=self._job, defaults={"points": self.points})
            self._is_new = False
