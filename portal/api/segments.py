"""Segments."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from inventory.models import Segment
from inventory.services.segments import segment_create
from portal.api.fields import Body
from portal.api.filters import Ordering
from portal.api.views import NounView


class SegmentSerializer(serializers.ModelSerializer):
    networks = serializers.SlugRelatedField("name", many=True, read_only=True)
    allowed_actions = serializers.ListField(child=serializers.ChoiceField(Action.choices))

    class Meta:
        model = Segment
        fields = ["id", "name", "description", "networks", "allowed_actions"]
        read_only_fields = fields


class SegmentRequest(Body):
    name = serializers.CharField(max_length=100)
    description = serializers.CharField(max_length=500, default="", allow_blank=True)
    networks = serializers.ListField(
        child=serializers.CharField(max_length=100),
        default=list,
        max_length=100,
        help_text="libvirt networks or bridges.",
    )


class SegmentFilters(django_filters.FilterSet):
    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains", label="Part of the name.")
    ordering = Ordering(fields=["name"])


@extend_schema_view(
    list=extend_schema(summary="List the segments that the caller sees"),
    retrieve=extend_schema(summary="One segment"),
)
class SegmentView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = Segment.objects.prefetch_related("networks")
    serializer_class = SegmentSerializer
    filterset_class = SegmentFilters

    def describe(self, objects: list[Any]) -> None:
        actions = gate.actions_on(self.caller, objects)
        for segment in objects:
            segment.allowed_actions = sorted(actions[segment.pk])

    @extend_schema(summary="Create a segment", request=SegmentRequest, responses={201: SegmentSerializer})
    def create(self, request: Request) -> Response:
        segment = segment_create(actor=self.caller, **self.body(SegmentRequest))
        return self.created(segment, name="segment")
