"""The estate, as last observed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from inventory.models import NIC, VM, Host, PlacementRule, SeenChange, Segment, Sighting, Snapshot
from inventory.rules_seen import rules_seen
from portal.admin.base import Acknowledged, ReadOnlyAdmin, ReadOnlyInline, as_text


class NICsOfVM(ReadOnlyInline):
    model = NIC
    fields = ["mac", "source_kind", "source", "model", "foreign_segment"]
    show_change_link = False


class SnapshotsOfVM(ReadOnlyInline):
    model = Snapshot
    fields = ["name", "created_at", "created_by", "state", "kind", "is_baseline", "is_current", "missing_since"]


class VMs(ReadOnlyAdmin):
    list_display = ["name", "segment", "host", "power_state", "is_split", "missing_since", "observed_at", "uuid"]
    list_filter = [
        "power_state", "is_split", ("missing_since", admin.EmptyFieldListFilter),
        ("segment", admin.EmptyFieldListFilter),
    ]  # fmt: skip
    list_select_related = ["segment", "host"]
    search_fields = ["name", "uuid", "segment__name"]
    fields = [
        "name", "uuid", "title", "description", "segment", "host", "power_state", "state_reason", "is_split",
        "split_at", "missing_since", "observed_at", "created_at", "memory_mib", "vcpus", "virt_type", "machine",
        "autostart", "persistent", "agent_channel", "agent_connected", "migration_policy", "probe_address",
        "installed_at", "disks_text", "definition_observed_at",
    ]  # fmt: skip
    readonly_fields = ["disks_text"]
    inlines = [NICsOfVM, SnapshotsOfVM]

    @admin.display(description="Disks")
    def disks_text(self, vm: VM) -> str:
        return as_text(vm.disks)


class Snapshots(ReadOnlyAdmin):
    list_display = ["name", "vm", "created_at", "created_by", "is_baseline", "is_current", "missing_since"]
    list_filter = ["is_baseline", "has_memory", "created_at"]
    list_select_related = ["vm", "created_by"]
    search_fields = ["name", "vm__name"]


class Clusters(ReadOnlyAdmin):
    list_display = ["name", "shared_storage", "encrypted_migrations", "balancing", "queue"]


class PlacementRules(ReadOnlyAdmin):
    """Which VMs may be on which hosts, and beside which others. What the auditor does not see is counted, not named."""

    list_display = ["name", "cluster", "kind"]
    list_filter = ["kind", "cluster"]
    list_select_related = ["cluster"]
    search_fields = ["name", "cluster__name"]
    fields = ["name", "cluster", "kind", "vms_text", "segments_text", "hosts_text", "hidden"]
    readonly_fields = ["vms_text", "segments_text", "hosts_text", "hidden"]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> PlacementRule | None:
        """With what of it the auditor sees, as `seen`."""
        rule: PlacementRule | None = super().get_object(request, object_id, from_field)
        if rule is not None:
            [rule.seen] = rules_seen(request.user, [rule])  # type: ignore[attr-defined,arg-type]
        return rule

    @admin.display(description="VMs")
    def vms_text(self, rule: Any) -> str:
        return ", ".join(vm.name for vm in rule.seen.vms)

    @admin.display(description="Segments")
    def segments_text(self, rule: Any) -> str:
        return ", ".join(segment.name for segment in (rule.seen.segment, rule.seen.other_segment) if segment)

    @admin.display(description="Hosts")
    def hosts_text(self, rule: Any) -> str:
        return ", ".join(host.name for host in rule.seen.hosts)

    @admin.display(description="Not shown")
    def hidden(self, rule: Any) -> int:
        return int(rule.seen.hidden)


class Hosts(ReadOnlyAdmin):
    list_display = ["name", "cluster", "uri", "connection", "availability", "hypervisor_version", "observed_at"]
    list_filter = ["connection", "availability", "cluster"]
    list_select_related = ["cluster"]
    search_fields = ["name", "address", "hostname"]
    fields = [
        "name", "cluster", "uri", "availability", "connection", "connection_error", "observed_at", "host_uuid",
        "hostname", "cpus", "cpu_model", "memory_mib", "memory_free_mib", "reserved_mib", "hypervisor",
        "hypervisor_version", "library_version", "networks_text",
    ]  # fmt: skip
    readonly_fields = ["uri", "networks_text"]

    @admin.display(description="Address")
    def uri(self, host: Host) -> str:
        return str(host.uri)

    @admin.display(description="Networks")
    def networks_text(self, host: Host) -> str:
        return as_text(host.networks)


class Segments(ReadOnlyAdmin):
    list_display = ["name", "description", "network_names"]
    search_fields = ["name", "networks__name"]
    fields = [
        "name", "description", "network_names", "migration_policy", "baseline_policy", "longest_baseline_pause",
    ]  # fmt: skip
    readonly_fields = ["network_names"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("networks")

    @admin.display(description="Networks")
    def network_names(self, segment: Segment) -> str:
        return ", ".join(network.name for network in segment.networks.all())


class Sightings(ReadOnlyAdmin):
    list_display = ["name", "host", "state", "reason", "state_since", "observed_at", "gone_at", "uuid"]
    list_filter = ["state", ("gone_at", admin.EmptyFieldListFilter)]
    list_select_related = ["host"]
    search_fields = ["name", "uuid", "host__name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(host__in=Host.objects.visible_to(request.user))

    def record_query(self, found: Sighting) -> dict[str, str]:
        return {"object_uuid": str(found.uuid)}


class SeenChanges(ReadOnlyAdmin):
    """What was seen to change on VMs: which of it came from outside the portal, and who took note."""

    list_display = ["seen_at", "vm", "kind", "verdict", "host_name", "acknowledged_by", "acknowledged_at", "note"]
    list_display_links = ["seen_at", "vm"]
    list_filter = ["verdict", Acknowledged, "seen_at", "kind"]
    list_select_related = ["vm", "acknowledged_by"]
    search_fields = ["vm__name", "vm__uuid", "vm__segment__name", "host_name", "acknowledged_by__username", "note"]
    search_help_text = "Part of a VM's, a segment's or a host's name, of a UUID, of a user name or of the note."
    sortable_by = ["seen_at", "acknowledged_at"]
    fields = [
        "vm", "kind", "verdict", "host_name", "seen_at", "before_text", "after_text", "acknowledged_by",
        "acknowledged_at", "note",
    ]  # fmt: skip
    readonly_fields = ["before_text", "after_text"]

    @admin.display(description="Before")
    def before_text(self, change: SeenChange) -> str:
        return as_text(change.before)

    @admin.display(description="After")
    def after_text(self, change: SeenChange) -> str:
        return as_text(change.after)

    def record_query(self, found: SeenChange) -> dict[str, str]:
        return {"object_type": "vm", "object_id": str(found.vm_id)}
