"""A VM's snapshots."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin

from access.actions import Action
from inventory.models import VM, Snapshot
from portal.api.fields import PersonSerializer, vm_named, vms_named
from portal.api.views import NounView

_VM = OpenApiParameter("vm", str, OpenApiParameter.PATH, description="The VM's id or UUID.")


class SnapshotSerializer(serializers.ModelSerializer):
    created_by = PersonSerializer(allow_null=True, help_text="Null for one that was not taken through Slipway.")

    class Meta:
        model = Snapshot
        fields = [
            "id", "name", "description", "created_at", "created_by", "state", "kind", "has_memory", "parent_name",
            "is_current", "is_baseline", "pause_ms", "observed_at", "missing_since",
        ]  # fmt: skip
        read_only_fields = fields


@extend_schema_view(list=extend_schema(summary="List a VM's snapshots, the oldest first", parameters=[_VM]))
class SnapshotView(ListModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = Snapshot.objects.select_related("created_by").order_by("created_at", "pk")
    serializer_class = SnapshotSerializer

    def get_queryset(self) -> Any:
        vm = vm_named(VM.objects.visible_to(self.caller), self.kwargs["vm"])
        if vm is None:
            self.missing(vms_named(VM.objects.all(), self.kwargs["vm"]))
        return super().get_queryset().filter(vm=vm)
