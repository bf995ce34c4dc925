"""Loads: how much CPU each VM was observed to use."""

from __future__ import annotations

from django.db import models

from inventory.models.hosts import Host
from inventory.models.vms import VM


class Load(models.Model):
    """A VM's use of CPU, as last observed. Written by the sync only (`inventory.loads`); a table of its own, since it
    changes with each look and nothing else about the VM does.
    """

    vm = models.OneToOneField(VM, primary_key=True, on_delete=models.CASCADE, related_name="load")
    host = models.ForeignKey(
        Host, null=True, on_delete=models.SET_NULL, related_name="+", help_text="Whose count it is."
    )
    cpu_time_ns = models.BigIntegerField(help_text="The host's count of CPU time, when it was last read.")
    observed_at = models.DateTimeField()
    since = models.DateTimeField(help_text="When the mean begins.")
    cpu_cores = models.FloatField(null=True, help_text="The mean use, in cores; none after a first look.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"load of {self.vm}"
