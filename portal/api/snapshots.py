"""A VM's snapshots."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from inventory.models import VM, Snapshot
from inventory.services.snapshots import LONGEST_HOURS, snapshot_set_expiry
from portal.api.fields import Body, PersonSerializer, vm_named, vms_named
from portal.api.problems import NoSuchObject
from portal.api.views import NounView

_VM = OpenApiParameter("vm", str, OpenApiParameter.PATH, description="The VM's id or UUID.")


class SnapshotSerializer(serializers.ModelSerializer):
    created_by = PersonSerializer(allow_null=True, help_text="Null for one that was not taken through Slipway.")

    class Meta:
        model = Snapshot
        fields = [
            "id", "name", "description", "created_at", "created_by", "state", "kind", "has_memory", "parent_name",
            "is_current", "is_baseline", "pause_ms", "expires_at", "observed_at", "missing_since",
        ]  # fmt: skip
        read_only_fields = fields


class SnapshotExpiry(Body):
    hours = serializers.IntegerField(
        min_value=1,
        max_value=LONGEST_HOURS,
        allow_null=True,
        help_text="In so many it goes by itself; null: never.",
    )


@extend_schema_view(list=extend_schema(summary="List a VM's snapshots, the oldest first", parameters=[_VM]))
class SnapshotView(ListModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = Snapshot.objects.select_related("created_by").order_by("created_at", "pk")
    serializer_class = SnapshotSerializer

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(vm=self._vm())

    def _vm(self) -> VM:
        vm = vm_named(VM.objects.visible_to(self.caller), self.kwargs["vm"])
        if vm is None:
            self.missing(vms_named(VM.objects.all(), self.kwargs["vm"]))
        return vm

    @extend_schema(
        summary="Say when a snapshot is deleted by itself",
        description="Needs the right to delete snapshots of the VM. A baseline stays.",
        parameters=[_VM],
        request=SnapshotExpiry,
        responses={200: SnapshotSerializer},
    )
    def expiry(self, request: Request, vm: str, snapshot: int) -> Response:
        gate.authorise(self.caller, Action.DELETE_SNAPSHOT, self._vm())
        found = self.get_queryset().select_related("vm").filter(pk=snapshot, missing_since=None).first()
        if found is None:
            raise NoSuchObject("snapshot")
        snapshot_set_expiry(actor=self.caller, snapshot=found, **self.body(SnapshotExpiry))
        return Response(SnapshotSerializer(self.get_queryset().get(pk=snapshot)).data)
