"""Placement rules: which VMs may be on which hosts of a cluster, and beside which others."""

from __future__ import annotations

from django.db import models

from audit.record import Target
from inventory.models.hosts import Cluster, Host
from inventory.models.segments import Segment
from inventory.models.vms import VM
from inventory.querysets import PlacementRuleQuerySet


class PlacementRule(models.Model):
    """One rule of a cluster. Which of the fields below it has goes by its kind."""

    class Kind(models.TextChoices):
        APART = "apart", "Apart: no two of these VMs on one host"
        TOGETHER = "together", "Together: all of these VMs on one host"
        ONLY_ON = "only_on", "Only on: a segment's VMs on these hosts and no other"
        NEVER_BESIDE = "never_beside", "Never beside: no VM of a segment on a host with a VM of another"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="placement_rules")
    name = models.CharField(max_length=100, help_text="Told to everybody whose VM the rule keeps from a host.")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    vms = models.ManyToManyField(VM, related_name="placement_rules")
    segment = models.ForeignKey(Segment, null=True, on_delete=models.CASCADE, related_name="placement_rules")
    other_segment = models.ForeignKey(Segment, null=True, on_delete=models.CASCADE, related_name="+")
    hosts = models.ManyToManyField(Host, related_name="placement_rules")

    objects = PlacementRuleQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["cluster", "name"]
        constraints = [models.UniqueConstraint(fields=["cluster", "name"], name="one_placement_rule_per_name")]

    def __str__(self) -> str:
        return self.name

    def audit_target(self) -> Target:
        return self.cluster.audit_target()
