"""VMs and their network cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from access.actions import permissions
from audit.record import Target
from hypervisor.types import PowerState
from inventory.models.hosts import Host
from inventory.models.policies import MigrationPolicy
from inventory.models.segments import Segment
from inventory.querysets import VMQuerySet

if TYPE_CHECKING:
    from inventory.models.snapshots import Snapshot

POWER_STATES = [(state.value, state.value.replace("_", " ")) for state in PowerState]


class VM(models.Model):
    """A domain, identified by its UUID. It keeps its segment and grants whatever host it is on or returns to.

    `host`, `power_state` and what follows are derived from sightings by `inventory.derive`; nothing else writes them.
    """

    uuid = models.UUIDField(unique=True)
    name = models.CharField(max_length=255)
    segment = models.ForeignKey(Segment, null=True, blank=True, on_delete=models.PROTECT, related_name="vms")
    created_at = models.DateTimeField(auto_now_add=True)
    migration_policy = models.CharField(
        max_length=10, choices=MigrationPolicy, blank=True, help_text="Instead of the segment's."
    )
    installed_at = models.DateTimeField(
        null=True, blank=True, help_text="When somebody said that it is installed, and may have its baseline."
    )
    probe_address = models.GenericIPAddressField(
        null=True, blank=True, help_text="Where the pause of a migration is measured from outside."
    )

    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.SET_NULL, related_name="vms")
    power_state = models.CharField(max_length=12, choices=POWER_STATES, default=PowerState.UNKNOWN.value)
    state_reason = models.CharField(max_length=30, blank=True)
    is_split = models.BooleanField(default=False, help_text="Two hosts say that they run it.")
    split_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Since when nothing is done to it, because two hosts ran it: until one does, and a person took note.",
    )
    missing_since = models.DateTimeField(null=True, blank=True)
    memory_mib = models.PositiveIntegerField(default=0)
    vcpus = models.PositiveIntegerField(default=0)
    observed_at = models.DateTimeField(null=True, blank=True)

    title = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    virt_type = models.CharField(max_length=20, blank=True)
    machine = models.CharField(max_length=60, blank=True)
    autostart = models.BooleanField(default=False)
    persistent = models.BooleanField(default=True)
    agent_channel = models.BooleanField(default=False)
    agent_connected = models.BooleanField(default=False)
    disks = models.JSONField(default=list, blank=True)
    definition_observed_at = models.DateTimeField(null=True, blank=True)

    objects = VMQuerySet.as_manager()

    class Meta:
        verbose_name = "VM"
        verbose_name_plural = "VMs"
        default_permissions = ()
        permissions = permissions()
        ordering = ["name", "pk"]
        indexes = [
            models.Index(fields=["segment", "name", "id"], name="vm_by_segment"),
            models.Index(fields=["name", "id"], name="vm_by_name"),
            models.Index(fields=["host"], name="vm_by_host"),
            models.Index(fields=["power_state"], name="vm_by_state"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_running(self) -> bool:
        return self.power_state == PowerState.RUNNING.value

    @property
    def policy_of_migrations(self) -> MigrationPolicy:
        """How far its migrations may go, where nobody says: its own, its segment's, or gently."""
        own = self.migration_policy or (self.segment.migration_policy if self.segment else "")
        return MigrationPolicy(own or MigrationPolicy.GENTLE)

    @property
    def why_stopped(self) -> str:
        """Why nothing is done to it by itself or by request, in a sentence; "" where something may be."""
        if self.is_split:
            return f"Two hosts say that they run {self}; a person must settle that first."
        if self.split_at is not None:
            return f"Two hosts ran {self} at once; nothing is done to it until somebody who may approve has taken note."
        return ""

    @property
    def baseline(self) -> Snapshot | None:
        """The snapshot to fall back to, if there is one, be it that its host does not list it any more."""
        return self.snapshots.filter(is_baseline=True).first()

    def audit_target(self) -> Target:
        segment = self.segment
        return Target(
            type="vm",
            id=str(self.pk),
            uuid=str(self.uuid),
            name=self.name,
            segment_id=str(segment.pk) if segment else "",
            segment_name=segment.name if segment else "",
        )


class NIC(models.Model):
    """A network card of a VM, as its host last described it."""

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="nics")
    mac = models.CharField(max_length=17)
    source_kind = models.CharField(max_length=20)
    source = models.CharField(max_length=100, blank=True)
    model = models.CharField(max_length=30, blank=True)
    foreign_segment = models.ForeignKey(
        Segment,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Finding: the card is on a network of a segment that is not the VM's.",
    )

    class Meta:
        default_permissions = ()
        ordering = ["vm", "mac"]
        constraints = [models.UniqueConstraint(fields=["vm", "mac"], name="one_nic_per_mac_and_vm")]

    def __str__(self) -> str:
        return f"{self.mac} on {self.source}"
