"""Clusters and hosts."""

from __future__ import annotations

from django.db import models

from access.actions import permissions
from audit.record import Target
from hypervisor.uri import HostURI
from inventory.querysets import ClusterQuerySet, HostQuerySet


class Cluster(models.Model):
    """Hosts among which VMs may move."""

    class Balancing(models.TextChoices):
        """What Slipway does by itself about a cluster whose hosts are used unevenly."""

        OFF = "off", "Off"
        ADVISE = "advise", "Advise: say what would move, and why"
        AUTOMATIC = "automatic", "Automatic: move it"

    name = models.CharField(max_length=100, unique=True)
    queue = models.SlugField(max_length=60, default="slipway", help_text="Queue whose workers sit near these hosts.")
    shared_storage = models.BooleanField(
        default=False, help_text="All hosts see the same image store at the same path, though libvirt cannot tell."
    )
    balancing = models.CharField(max_length=10, choices=Balancing.choices, default=Balancing.OFF)
    encrypted_migrations = models.BooleanField(
        default=False, help_text="Migrations' streams are encrypted: each host has a certificate for its QEMUs."
    )

    objects = ClusterQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        permissions = permissions()
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def audit_target(self) -> Target:
        return Target(type="cluster", id=str(self.pk), name=self.name)


class Host(models.Model):
    """A hypervisor. Its address is kept in validated parts; what it said last is beside it, with the time."""

    class Connection(models.TextChoices):
        UNKNOWN = "unknown", "Not seen yet"
        ONLINE = "online", "Online"
        UNREACHABLE = "unreachable", "Unreachable"

    class Availability(models.TextChoices):
        """Whether VMs may be placed and started on it. Changed by the jobs that empty a host and bring it back."""

        ACTIVE = "active", "Active"
        DRAINING = "draining", "Draining"
        MAINTENANCE = "maintenance", "In maintenance"
        RESTORING = "restoring", "Coming back"

    #: In these it takes VMs.
    TAKING_VMS = (Availability.ACTIVE, Availability.RESTORING)

    name = models.CharField(max_length=100, unique=True)
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="hosts")
    scheme = models.CharField(max_length=20)
    address = models.CharField(max_length=253, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True)
    user = models.CharField(max_length=32, blank=True)
    availability = models.CharField(max_length=12, choices=Availability.choices, default=Availability.ACTIVE)
    unavailable_since = models.DateTimeField(
        null=True, blank=True, help_text="When it ceased to be active: what drains moved away since then may come home."
    )

    reserved_mib = models.PositiveIntegerField(
        default=0, help_text="Memory in MiB that is kept free of VMs: they get what is free beyond it."
    )

    connection = models.CharField(max_length=12, choices=Connection.choices, default=Connection.UNKNOWN)
    connection_error = models.CharField(max_length=500, blank=True)
    observed_at = models.DateTimeField(null=True, blank=True)
    definitions_observed_at = models.DateTimeField(null=True, blank=True)
    sync_started_at = models.DateTimeField(null=True, blank=True)
    host_uuid = models.CharField(max_length=36, blank=True)
    hostname = models.CharField(max_length=253, blank=True)
    cpus = models.PositiveIntegerField(default=0)
    memory_mib = models.PositiveIntegerField(default=0)
    memory_free_mib = models.PositiveIntegerField(default=0)
    cpu_model = models.CharField(max_length=100, blank=True)
    hypervisor = models.CharField(max_length=40, blank=True)
    hypervisor_version = models.CharField(max_length=30, blank=True)
    library_version = models.CharField(max_length=30, blank=True)
    networks = models.JSONField(default=list, blank=True)

    objects = HostQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        permissions = permissions()
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["scheme", "address", "port", "user"], name="one_host_per_address"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def uri(self) -> HostURI:
        """The address, built from its parts."""
        return HostURI(self.scheme, self.address, self.port, self.user)

    @property
    def is_online(self) -> bool:
        return self.connection == self.Connection.ONLINE

    @property
    def in_maintenance(self) -> bool:
        """Whether it takes no VMs at present: it is being emptied, or is kept empty."""
        return self.availability not in self.TAKING_VMS

    def audit_target(self) -> Target:
        return Target(type="host", id=str(self.pk), uuid=self.host_uuid, name=self.name)
