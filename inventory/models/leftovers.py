"""Files that VMs left behind on a host."""

from __future__ import annotations

from django.db import models

from inventory.models.hosts import Host
from inventory.models.vms import VM


class Leftover(models.Model):
    """The image of a disk that was copied to another host with its VM. It is kept for a while, in case the copy turns
    out to be bad; then a job removes it, if nobody wanted it to stay.
    """

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="leftovers")
    vm = models.ForeignKey(VM, null=True, on_delete=models.SET_NULL, related_name="leftovers")
    vm_name = models.CharField(max_length=255)
    path = models.CharField(max_length=1024)
    size_bytes = models.BigIntegerField(default=0)
    left_at = models.DateTimeField()
    remove_after = models.DateTimeField(null=True, help_text="Null: somebody wants it kept.")
    removing_at = models.DateTimeField(null=True, help_text="A job has begun to remove it: too late to keep it.")
    removed_at = models.DateTimeField(null=True)
    why_not = models.CharField(max_length=300, blank=True, help_text="Why it was not removed when it was due.")

    class Meta:
        default_permissions = ()
        ordering = ["host", "-left_at", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "path"], condition=models.Q(removed_at=None), name="one_leftover_per_file"
            )
        ]

    def __str__(self) -> str:
        return f"{self.path} of {self.vm_name}"
