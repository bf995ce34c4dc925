"""Sightings: what a host said about a domain, and when."""

from __future__ import annotations

from django.db import models

from hypervisor.types import PowerState
from inventory.models.hosts import Host


class Sighting(models.Model):
    """One host's latest word on one domain. Written by the sync and the watcher only; everything about VMs is
    derived from it.

    `gone_at` is set when the host no longer lists the domain; the row stays, as the memory of where it was.
    """

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="sightings")
    uuid = models.UUIDField()
    name = models.CharField(max_length=255)
    state = models.CharField(max_length=12)
    reason = models.CharField(max_length=30, blank=True)
    memory_mib = models.PositiveIntegerField(default=0)
    vcpus = models.PositiveIntegerField(default=0)
    state_since = models.DateTimeField(help_text="When this state was first seen.")
    observed_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ["host", "uuid"]
        constraints = [models.UniqueConstraint(fields=["host", "uuid"], name="one_sighting_per_host_and_domain")]
        indexes = [models.Index(fields=["uuid"], name="sighting_by_uuid")]

    def __str__(self) -> str:
        return f"{self.name} on {self.host}: {self.state}"

    @property
    def is_running(self) -> bool:
        return self.gone_at is None and self.state == PowerState.RUNNING.value
