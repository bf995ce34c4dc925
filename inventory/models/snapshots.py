"""Snapshots, as observed; what Slipway knows beyond the hypervisor (who, why, baseline) is kept beside."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from audit.record import Target
from inventory.models.hosts import Host
from inventory.models.vms import VM
from inventory.querysets import SnapshotQuerySet


class Snapshot(models.Model):
    """One snapshot of a VM. `missing_since` marks one that its host no longer lists."""

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="snapshots")
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField()
    state = models.CharField(max_length=12)
    kind = models.CharField(max_length=10)
    has_memory = models.BooleanField(default=False)
    parent_name = models.CharField(max_length=255, blank=True)
    is_current = models.BooleanField(default=False)
    is_baseline = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    pause_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="How long the VM stood still for it, as measured."
    )
    saved_mib = models.PositiveIntegerField(null=True, blank=True, help_text="The VM's memory then.")
    taken_on = models.ForeignKey(Host, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    expires_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When it is deleted by itself; none: not at all."
    )
    observed_at = models.DateTimeField()
    missing_since = models.DateTimeField(null=True, blank=True)

    objects = SnapshotQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["vm", "created_at", "name"]
        constraints = [
            models.UniqueConstraint(fields=["vm", "name"], name="one_snapshot_per_name_and_vm"),
            models.UniqueConstraint(fields=["vm"], condition=models.Q(is_baseline=True), name="one_baseline_per_vm"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.vm}"

    def audit_target(self) -> Target:
        of = self.vm.audit_target()
        return Target(
            type="snapshot",
            id=str(self.pk),
            uuid=of.uuid,
            name=f"{of.name}/{self.name}",
            segment_id=of.segment_id,
            segment_name=of.segment_name,
        )
