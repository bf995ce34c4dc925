"""Jobs, their steps, and the locks they hold."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models

from audit.record import Target
from inventory.models import VM, Cluster, Host
from jobs.querysets import JobQuerySet
from jobs.states import TERMINAL, State


class Job(models.Model):
    """One run of an operation on a target. The database owns it: queue messages carry its id and nothing else.

    `fence` grows with each claim; every write of a worker names the fence it claimed with, so that a worker that
    lost the job can no longer change it. `journal` is what recovery needs, committed before the effect that it is
    about; for work on a host it also names the VMs that it is about, with the segments they were in (`extent`), which
    not everybody who sees the job may know of.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    operation = models.CharField(max_length=40)
    vm = models.ForeignKey(VM, null=True, blank=True, on_delete=models.PROTECT, related_name="jobs")
    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.PROTECT, related_name="jobs")
    cluster = models.ForeignKey(Cluster, null=True, blank=True, on_delete=models.PROTECT, related_name="jobs")
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="parts", help_text="What it is a part of."
    )
    target_name = models.CharField(max_length=255)
    params = models.JSONField(default=dict)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="jobs")
    requester_name = models.CharField(max_length=150)
    request_id = models.CharField(max_length=64, blank=True)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    request_digest = models.CharField(max_length=64, blank=True)

    state = models.CharField(max_length=20, choices=State.choices, default=State.QUEUED)
    created_at = models.DateTimeField(auto_now_add=True)
    nudged_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)

    fence = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=120, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=150, blank=True)

    phase = models.CharField(max_length=40, blank=True)
    percent = models.PositiveSmallIntegerField(default=0)
    progress = models.JSONField(default=dict)
    journal = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    traceback = models.TextField(blank=True)

    #: Not stored: set on a job that an Idempotency-Key found again.
    is_replay = False

    objects = JobQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "id"]
        indexes = [
            models.Index(fields=["state", "heartbeat_at"], name="job_by_state"),
            models.Index(fields=["vm", "-created_at"], name="job_by_vm"),
            models.Index(fields=["-created_at"], name="job_by_time"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["requested_by", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="one_job_per_idempotency_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operation} on {self.target_name}"

    @property
    def label(self) -> str:
        """What it does, in a person's words."""
        from jobs.operations.registry import operation_named

        return f"{operation_named(self.operation).label} {self.target_name}"

    @property
    def target(self) -> Any:
        """The VM, host or cluster."""
        return self.vm or self.host or self.cluster

    @property
    def extent(self) -> list[int]:
        """Ids of the VMs that work on a host was asked to be about, as they were observed then."""
        return sorted(map(int, self.journal.get("extent", ())))

    @property
    def concerned(self) -> set[int]:
        """Ids of the VMs that it is about: those of its extent, and of the plan that it made."""
        return {*self.extent, *(move["vm"] for move in self.journal.get("plan", {}).get("moves", ()))}

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL

    def audit_target(self) -> Target:
        of = self.target.audit_target()
        return Target(
            type="job",
            id=str(self.pk),
            uuid=of.uuid,
            name=str(self),
            segment_id=of.segment_id,
            segment_name=of.segment_name,
        )


class Step(models.Model):
    """A named part of a job, with what it found. A step that is entered again after a crash keeps its row."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveIntegerField()
    phase = models.CharField(max_length=20)
    name = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    detail = models.TextField(blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ["job", "position"]
        constraints = [
            models.UniqueConstraint(fields=["job", "name"], name="one_step_per_name_and_job"),
            models.UniqueConstraint(fields=["job", "position"], name="one_step_per_position_and_job"),
        ]

    def __str__(self) -> str:
        return f"{self.title}: {self.state}"

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


class JobLock(models.Model):
    """The right to work on a resource (`vm:<uuid>`, `host:<id>`); one job at a time has it, by the unique column."""

    resource = models.CharField(max_length=80, unique=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="locks")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        ordering = ["resource"]

    def __str__(self) -> str:
        return f"{self.resource} held by {self.job_id}"
