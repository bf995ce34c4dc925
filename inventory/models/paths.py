"""The paths between hosts, and what is known of them."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import models
from django.utils import timezone

from inventory.models.hosts import Host
from inventory.querysets import HostPairQuerySet

#: Proved every day; a day that is late is no reason to take it back.
SHARED_FOR = timedelta(hours=30)


class HostPair(models.Model):
    """The way from one host to another, as a canary found it: a tiny VM that travels it and is gone again.

    Written by the job that sends the canaries. `canary` is the VM's UUID, always the same for a pair, so that one that
    was left behind is known for what it is. `ok` None: never proved.
    """

    source = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="paths_out")
    destination = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="paths_in")
    canary = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    ok = models.BooleanField(null=True)
    proved_at = models.DateTimeField(null=True)
    why = models.CharField(max_length=500, blank=True)
    seconds = models.FloatField(null=True)
    shared = models.JSONField(default=list, help_text="Directories of pools that the two were seen to share.")

    objects = HostPairQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["source", "destination"]
        constraints = [models.UniqueConstraint(fields=["source", "destination"], name="one_row_per_pair_of_hosts")]

    def __str__(self) -> str:
        return f"from {self.source} to {self.destination}"

    @property
    def is_broken(self) -> bool:
        """Whether the last canary did not get through."""
        return self.ok is False

    def shares(self, directory: str) -> bool:
        """Whether the two hosts were lately seen to share the storage in this directory."""
        return directory in self.shared and self.was_proved_within(SHARED_FOR)

    def was_proved_within(self, age: timedelta) -> bool:
        """Whether a canary got through so lately."""
        return bool(self.ok) and self.proved_at is not None and timezone.now() - self.proved_at < age
