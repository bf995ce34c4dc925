"""Work that went ahead without the approval it needed, for auditors to take note of."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.actions import Action
from jobs.approvals import broken_glass_acknowledge
from jobs.models import BrokenGlass
from portal.api.fields import Body, PersonSerializer
from portal.api.schema import problems
from portal.api.views import NounView


class BrokenGlassSerializer(serializers.ModelSerializer):
    job = serializers.UUIDField(source="job_id")
    what = serializers.CharField(source="job", help_text="The operation and its target.")
    asked_by = serializers.CharField(source="job.requester_name")
    at = serializers.DateTimeField(source="job.created_at")
    acknowledged_by = PersonSerializer(allow_null=True)

    class Meta:
        model = BrokenGlass
        fields = ["id", "job", "what", "asked_by", "at", "reason", "acknowledged_by", "acknowledged_at", "note"]
        read_only_fields = fields


class Acknowledgement(Body):
    note = serializers.CharField(max_length=500, default="", allow_blank=True)


class BrokenGlassFilters(django_filters.FilterSet):
    acknowledged = django_filters.BooleanFilter(field_name="acknowledged_at", lookup_expr="isnull", exclude=True)


@extend_schema_view(
    list=extend_schema(summary="List the work that went ahead without approval"),
    retrieve=extend_schema(summary="One such piece of work"),
)
class BrokenGlassView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = BrokenGlass.objects.select_related("job", "acknowledged_by").order_by("-pk")
    serializer_class = BrokenGlassSerializer
    filterset_class = BrokenGlassFilters

    @extend_schema(
        summary="Take note of it, as an auditor",
        request=Acknowledgement,
        responses={200: BrokenGlassSerializer, **problems(409, 422)},
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def acknowledge(self, request: Request, pk: int) -> Response:
        given: dict[str, Any] = self.body(Acknowledgement)
        broken = broken_glass_acknowledge(actor=self.caller, broken=self.get_object(), **given)
        return Response(self.get_serializer(broken).data)
