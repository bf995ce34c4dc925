"""Segments."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from inventory.models import Alarm, BaselinePolicy, MigrationPolicy, Segment
from inventory.services.baselines import LONGEST_PAUSE, segment_set_baseline
from inventory.services.migration import segment_set_migration
from inventory.services.segments import segment_create, segment_set_silent
from jobs.approvals import approval_rules_set
from portal.api.fields import Body
from portal.api.filters import Ordering
from portal.api.views import NounView


class SegmentSerializer(serializers.ModelSerializer):
    networks = serializers.SlugRelatedField("name", many=True, read_only=True)
    needs_approval = serializers.SlugRelatedField(
        "operation",
        source="approval_rules",
        many=True,
        read_only=True,
        help_text="Operations that need a second person.",
    )
    silent = serializers.ListField(
        child=serializers.ChoiceField(Alarm.choices),
        help_text="Changes from outside that are recorded without an alarm.",
    )
    migration_policy = serializers.ChoiceField(
        MigrationPolicy.choices, allow_blank=True, help_text="For VMs that have none of their own; empty: gentle."
    )
    baseline_policy = serializers.ChoiceField(
        BaselinePolicy.choices, help_text="When a VM of it gets its baseline by itself."
    )
    allowed_actions = serializers.ListField(child=serializers.ChoiceField(Action.choices))

    class Meta:
        model = Segment
        fields = [
            "id",
            "name",
            "description",
            "networks",
            "needs_approval",
            "silent",
            "migration_policy",
            "baseline_policy",
            "longest_baseline_pause",
            "allowed_actions",
        ]
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


class SegmentBaseline(Body):
    policy = serializers.ChoiceField(BaselinePolicy.choices)
    longest_pause = serializers.IntegerField(
        min_value=0,
        max_value=LONGEST_PAUSE,
        help_text="Seconds that a running VM may stand still; one that would for longer gets it once it is off.",
    )


class ApprovalRules(Body):
    needs_approval = serializers.ListField(child=serializers.CharField(max_length=40), max_length=50)


class Alarms(Body):
    silent = serializers.ListField(child=serializers.CharField(max_length=20), max_length=len(Alarm.values))


class SegmentMigration(Body):
    policy = serializers.ChoiceField(
        MigrationPolicy.choices, allow_blank=True, help_text="For VMs that have none of their own; empty: gentle."
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
    queryset = Segment.objects.prefetch_related("networks", "approval_rules")
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

    @extend_schema(
        summary="Say which operations need a second person",
        description="Needs the right to grant on everything: who is bound by the rules does not lift them.",
        request=ApprovalRules,
        responses={200: SegmentSerializer},
    )
    @action(detail=True, methods=["put"], filterset_class=None)
    def approvals(self, request: Request, pk: int) -> Response:
        segment = self.get_object()
        approval_rules_set(actor=self.caller, segment=segment, operations=self.body(ApprovalRules)["needs_approval"])
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="Say which changes from outside are recorded without an alarm",
        description="Needs the right to grant on everything: who is watched does not silence the alarm.",
        request=Alarms,
        responses={200: SegmentSerializer},
    )
    @action(detail=True, methods=["put"], filterset_class=None)
    def alarms(self, request: Request, pk: int) -> Response:
        segment = self.get_object()
        segment_set_silent(actor=self.caller, segment=segment, groups=self.body(Alarms)["silent"])
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="Say how far the migrations of its VMs may go",
        description="Needs the right to edit it.",
        request=SegmentMigration,
        responses={200: SegmentSerializer},
    )
    @action(detail=True, methods=["put"], filterset_class=None)
    def migration(self, request: Request, pk: int) -> Response:
        segment = self.get_object()
        segment_set_migration(actor=self.caller, segment=segment, **self.body(SegmentMigration))
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="Say when its VMs get their baseline by themselves",
        description="Needs the right to edit it.",
        request=SegmentBaseline,
        responses={200: SegmentSerializer},
    )
    @action(detail=True, methods=["put"], filterset_class=None)
    def baseline(self, request: Request, pk: int) -> Response:
        segment = self.get_object()
        segment_set_baseline(actor=self.caller, segment=segment, **self.body(SegmentBaseline))
        return Response(self.get_serializer(self.get_object()).data)
