"""What somebody wants of a migration while it runs."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from jobs.models.jobs import Job


class Control(models.Model):
    """A wish, which the worker that follows the migration carries out. `value` is in MiB/s, for the bandwidth."""

    class Verb(models.TextChoices):
        SET_BANDWIDTH = "set_bandwidth", "Change the bandwidth"
        FORCE_COMPLETION = "force_completion", "Complete now"
        START_POST_COPY = "start_post_copy", "Switch to post-copy"

    class Outcome(models.TextChoices):
        WAITING = "waiting", "Waits for the worker"
        DONE = "done", "Done"
        REFUSED = "refused", "Not done"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="controls")
    verb = models.CharField(max_length=20, choices=Verb.choices)
    value = models.PositiveIntegerField(null=True, blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    requester_name = models.CharField(max_length=150)
    requested_at = models.DateTimeField(auto_now_add=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.WAITING)
    settled_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ["job", "pk"]
        indexes = [models.Index(fields=["job", "outcome"], name="control_by_job")]

    def __str__(self) -> str:
        value = f" to {self.value or 'no cap'}" if self.verb == self.Verb.SET_BANDWIDTH else ""
        return f"{self.get_verb_display()}{value}"
