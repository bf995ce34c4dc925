"""The course of a migration, for the picture of it."""

from __future__ import annotations

from django.db import models

from jobs.models.jobs import Job


class Curve(models.Model):
    """What was read of one migration, thinned out: rows of seconds since the job began, bytes left to copy, bytes a
    second that the link carries and that the guest writes, the allowed pause in milliseconds, and the slowing down of
    the guest in per cent.
    """

    job = models.OneToOneField(Job, primary_key=True, on_delete=models.CASCADE, related_name="curve")
    points = models.JSONField(default=list)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{len(self.points)} readings of {self.job}"
