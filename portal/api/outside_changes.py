"""What was changed on a VM outside the portal."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.actions import Action
from inventory.models import VM, SeenChange
from jobs.attribution import changes_acknowledge
from portal.api.fields import Body, PersonSerializer, vm_named, vms_named
from portal.api.schema import problems
from portal.api.views import NounView

_VM = OpenApiParameter("vm", str, OpenApiParameter.PATH, description="The VM's id or UUID.")


class SeenChangeSerializer(serializers.ModelSerializer):
    kind = serializers.ChoiceField(SeenChange.Kind.choices)
    before = serializers.DictField()
    after = serializers.DictField()
    acknowledged_by = PersonSerializer(allow_null=True)

    class Meta:
        model = SeenChange
        fields = [
            "id", "kind", "seen_at", "before", "after", "alarms",
            "acknowledged_by", "acknowledged_at", "note",
        ]  # fmt: skip
        read_only_fields = fields


class SeenChangesNote(Body):
    up_to = serializers.IntegerField(min_value=0, help_text="The id of the last change that was looked at.")
    note = serializers.CharField(max_length=500, default="", allow_blank=True)


class Acknowledged(serializers.Serializer):
    acknowledged = serializers.IntegerField(help_text="How many changes.")


class SeenChangeFilters(django_filters.FilterSet):
    acknowledged = django_filters.BooleanFilter(field_name="acknowledged_at", lookup_expr="isnull", exclude=True)


@extend_schema_view(
    list=extend_schema(summary="List what was changed on a VM outside the portal, the newest first", parameters=[_VM])
)
class OutsideChangesView(ListModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = SeenChange.objects.filter(verdict=SeenChange.Verdict.OUTSIDE).select_related("acknowledged_by")
    serializer_class = SeenChangeSerializer
    filterset_class = SeenChangeFilters

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(vm=self._vm()).order_by("-pk")

    @extend_schema(
        summary="Take note of what was changed on a VM outside the portal",
        description="For who may approve on the VM, and for auditors.",
        parameters=[_VM],
        request=SeenChangesNote,
        responses={200: Acknowledged, **problems(422)},
    )
    def acknowledge(self, request: Request, vm: str) -> Response:
        count = changes_acknowledge(actor=self.caller, vm=self._vm(), **self.body(SeenChangesNote))
        return Response({"acknowledged": count})

    def _vm(self) -> VM:
        vm = vm_named(VM.objects.visible_to(self.caller), self.kwargs["vm"])
        if vm is None:
            self.missing(vms_named(VM.objects.all(), self.kwargs["vm"]))
        return vm
