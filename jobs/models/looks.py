"""What Slipway last saw of a cluster's balance."""

from __future__ import annotations

from django.db import models

from inventory.models import Cluster


class Look(models.Model):
    """The last of the regular looks at a cluster that is to be balanced. An observation: written by the schedule alone.

    `window` is how much of each host was used, by its id, for the next look to compare with: a cluster counts as
    strained when two looks on end found it so.
    """

    cluster = models.OneToOneField(Cluster, primary_key=True, on_delete=models.CASCADE, related_name="look")
    looked_at = models.DateTimeField()
    window = models.JSONField(default=dict)
    planned = models.PositiveIntegerField(default=0, help_text="Moves that would be worth it; 0 after a first look.")
    verdict = models.TextField(blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"look at {self.cluster}"
