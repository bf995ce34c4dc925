"""Segments: the isolation boundary."""

from __future__ import annotations

from django.db import models

from access.actions import permissions
from audit.record import Target
from inventory.models.policies import BaselinePolicy, MigrationPolicy
from inventory.querysets import SegmentQuerySet


class Segment(models.Model):
    """A part of the estate, with its VMs and its networks, that teams get access to."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=500, blank=True)
    silent = models.JSONField(
        default=list, blank=True, help_text="Groups of changes from outside that are recorded without an alarm."
    )

    migration_policy = models.CharField(
        max_length=10, choices=MigrationPolicy, blank=True, help_text="For VMs that have none of their own."
    )

    baseline_policy = models.CharField(
        max_length=10,
        choices=BaselinePolicy,
        default=BaselinePolicy.ADOPTED,
        help_text="When a VM gets its baseline by itself.",
    )
    longest_baseline_pause = models.PositiveIntegerField(
        default=10, help_text="Seconds. A VM that would stand still for longer gets it once it is off."
    )

    objects = SegmentQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        permissions = permissions()
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def audit_target(self) -> Target:
        return Target(type="segment", id=str(self.pk), name=self.name, segment_id=str(self.pk), segment_name=self.name)


class SegmentNetwork(models.Model):
    """A libvirt network or bridge that belongs to a segment. No two segments share one."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="networks")
    name = models.CharField(max_length=100, unique=True)

    class Meta:
        default_permissions = ()
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ApprovalRule(models.Model):
    """In this segment, this operation of jobs needs somebody else's approval."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="approval_rules")
    operation = models.CharField(max_length=40)

    class Meta:
        default_permissions = ()
        ordering = ["segment", "operation"]
        constraints = [
            models.UniqueConstraint(fields=["segment", "operation"], name="one_rule_per_segment_and_operation")
        ]

    def __str__(self) -> str:
        return f"{self.operation} in {self.segment} needs approval"
