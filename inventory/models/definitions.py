"""What a VM is defined to be: as its host keeps it, and as it was approved."""

from __future__ import annotations

import hashlib
import json

from django.conf import settings
from django.db import models

from hypervisor.document import lines_of
from inventory.models.vms import VM


class Definition(models.Model):
    """The definition that the host keeps of a persistent VM, as it was last read, beside the one that was approved.

    The approved one is what was there first, what a person said yes to, or what a job brought back; see
    `inventory.approved`. The XML holds no passwords.
    """

    vm = models.OneToOneField(VM, primary_key=True, on_delete=models.CASCADE, related_name="definition")
    xml = models.TextField()
    facts = models.JSONField(default=dict)
    read_at = models.DateTimeField()
    approved_xml = models.TextField()
    approved_facts = models.JSONField(default=dict)
    approved_at = models.DateTimeField()
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    approved_because = models.CharField(max_length=500)
    differs = models.BooleanField(default=False)  # kept by `inventory.approved`: lists cannot compare documents

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"definition of {self.vm}"

    @property
    def digest(self) -> str:
        """Identifies the definition as it was last read: who approves it names what they looked at."""
        content = json.dumps([lines_of(self.xml), self.facts], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
