"""Four eyes: what waits for a second person, who decided, and who went ahead without."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from audit.record import Target
from jobs.models.jobs import Job
from jobs.querysets import BrokenGlassQuerySet


class Approval(models.Model):
    """What a job waits or waited for. `digest` is the request as the approver saw it: the job begins only with that."""

    class Verdict(models.TextChoices):
        WAITING = "waiting", "Waits"
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"
        EXPIRED = "expired", "Nobody decided in time"
        WITHDRAWN = "withdrawn", "Withdrawn"

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="approval")
    digest = models.CharField(max_length=64)
    expires_at = models.DateTimeField()
    verdict = models.CharField(max_length=10, choices=Verdict.choices, default=Verdict.WAITING)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ["-expires_at"]
        indexes = [models.Index(fields=["verdict", "expires_at"], name="approval_by_verdict")]

    def __str__(self) -> str:
        return f"{self.job}: {self.get_verdict_display()}"


class BrokenGlass(models.Model):
    """A job that went ahead without the approval it needed; listed until an auditor has acknowledged it."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="broken_glass")
    reason = models.CharField(max_length=500)
    acknowledged_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    acknowledged_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=500, blank=True)

    objects = BrokenGlassQuerySet.as_manager()

    class Meta:
        verbose_name = verbose_name_plural = "work without approval"
        default_permissions = ()
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.job}, without approval"

    def audit_target(self) -> Target:
        return self.job.audit_target()
