"""What was seen to change on a VM, before anybody knows whose doing it was."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from inventory.models.vms import VM
from inventory.querysets import SeenChangeQuerySet


class Alarm(models.TextChoices):
    """Groups of changes for which a segment can have an alarm."""

    POWER = "power", "Power: started, stopped, paused, rebooted, crashed"
    PLACE = "place", "Place: found on another host, on two, on none, back, or new"
    DEFINITION = "definition", "Definition and metadata"
    SNAPSHOTS = "snapshots", "Snapshots taken or gone"


class SeenChange(models.Model):
    """One change, as an event told it or a reading showed it. Written by the sync and the watcher; attributed to a job,
    or to nobody here, by `jobs.attribution`.
    """

    class Kind(models.TextChoices):
        STARTED = "started", "Started"
        STOPPED = "stopped", "Stopped"
        SUSPENDED = "suspended", "Suspended"
        RESUMED = "resumed", "Resumed"
        REBOOTED = "rebooted", "Rebooted"
        CRASHED = "crashed", "Crashed"
        POWER = "power", "Found in another state"
        MOVED = "moved", "Found on another host"
        VANISHED = "vanished", "No longer on any host"
        RETURNED = "returned", "Back on a host"
        DEFINITION = "definition", "Definition changed"
        METADATA = "metadata", "Metadata changed"
        APPEARED = "appeared", "New on a host that was read before"
        SPLIT = "split", "Run by two hosts at once"
        SNAPSHOT_TAKEN = "snapshot_taken", "Snapshot taken"
        SNAPSHOT_GONE = "snapshot_gone", "Snapshot gone"

    class Verdict(models.TextChoices):
        OPEN = "open", "Not attributed yet"
        JOB = "job", "By a job"
        TOLD = "told", "Told by another change"
        OUTSIDE = "outside", "Outside the portal"

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="changes")
    host_name = models.CharField(max_length=100, blank=True)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    seen_at = models.DateTimeField()
    verdict = models.CharField(max_length=10, choices=Verdict.choices, default=Verdict.OPEN)
    alarms = models.BooleanField(default=True, help_text="What the VM's segment had an alarm for at that time.")
    acknowledged_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    acknowledged_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=500, blank=True)

    objects = SeenChangeQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-seen_at", "-pk"]
        indexes = [
            models.Index(fields=["verdict", "seen_at"], name="change_by_verdict"),
            models.Index(fields=["vm", "-seen_at"], name="change_by_vm"),
        ]

    def __str__(self) -> str:
        return f"{self.vm}: {self.get_kind_display().lower()}"

    @property
    def group(self) -> Alarm:
        """Which alarm it belongs to."""
        return _GROUPS.get(self.Kind(self.kind), Alarm.POWER)


_GROUPS = {
    **dict.fromkeys(
        (
            SeenChange.Kind.MOVED,
            SeenChange.Kind.VANISHED,
            SeenChange.Kind.RETURNED,
            SeenChange.Kind.APPEARED,
            SeenChange.Kind.SPLIT,
        ),
        Alarm.PLACE,
    ),
    **dict.fromkeys((SeenChange.Kind.DEFINITION, SeenChange.Kind.METADATA), Alarm.DEFINITION),
    **dict.fromkeys((SeenChange.Kind.SNAPSHOT_TAKEN, SeenChange.Kind.SNAPSHOT_GONE), Alarm.SNAPSHOTS),
}
