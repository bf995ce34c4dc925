"""Placement rules: which VMs may be on which hosts of a cluster, and beside which others."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.actions import Action
from inventory.models import VM, Cluster, Host, PlacementRule, Segment
from inventory.rules_seen import rules_seen
from inventory.services.placement import placement_rule_create, placement_rule_delete
from portal.api.fields import Body, NamedSerializer, Reference, VMReference
from portal.api.filters import seen_by
from portal.api.views import NounView


class PlacementRuleSerializer(serializers.ModelSerializer):
    """A rule. VMs, segments and hosts that the caller does not see are counted, not named."""

    cluster = NamedSerializer()
    kind = serializers.ChoiceField(PlacementRule.Kind.choices)
    vms = NamedSerializer(source="seen.vms", many=True)
    segment = NamedSerializer(source="seen.segment", allow_null=True)
    other_segment = NamedSerializer(source="seen.other_segment", allow_null=True)
    hosts = NamedSerializer(source="seen.hosts", many=True)
    hidden = serializers.IntegerField(
        source="seen.hidden", help_text="How many VMs, segments and hosts of it are not shown."
    )

    class Meta:
        model = PlacementRule
        fields = ["id", "cluster", "name", "kind", "vms", "segment", "other_segment", "hosts", "hidden"]
        read_only_fields = fields


class PlacementRuleRequest(Body):
    """`apart` and `together` take `vms`, `only_on` a `segment` and `hosts`, `never_beside` two segments."""

    cluster = Reference(queryset=Cluster.objects.all())
    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(PlacementRule.Kind.choices)
    vms = serializers.ListField(child=VMReference(queryset=VM.objects.select_related("host")), default=list)
    segment = Reference(queryset=Segment.objects.all(), default=None, allow_null=True)
    other_segment = Reference(queryset=Segment.objects.all(), default=None, allow_null=True)
    hosts = serializers.ListField(child=Reference(queryset=Host.objects.all()), default=list)


class PlacementRuleFilters(django_filters.FilterSet):
    cluster = django_filters.CharFilter(method="in_cluster", label="Id or name.")

    def in_cluster(self, queryset: QuerySet[PlacementRule], name: str, value: str) -> QuerySet[PlacementRule]:
        return queryset.filter(cluster__in=seen_by(self.request, Cluster.objects, value))


@extend_schema_view(
    list=extend_schema(summary="List the placement rules of the clusters that the caller sees"),
    retrieve=extend_schema(summary="One placement rule"),
)
class PlacementRuleView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = PlacementRule.objects.select_related("cluster", "segment", "other_segment").prefetch_related(
        "vms", "hosts"
    )
    serializer_class = PlacementRuleSerializer
    filterset_class = PlacementRuleFilters

    def describe(self, objects: list[Any]) -> None:
        for rule, seen in zip(objects, rules_seen(self.caller, objects), strict=True):
            rule.seen = seen

    @extend_schema(
        summary="Set a placement rule", request=PlacementRuleRequest, responses={201: PlacementRuleSerializer}
    )
    def create(self, request: Request) -> Response:
        rule = placement_rule_create(actor=self.caller, **self.body(PlacementRuleRequest))
        return self.created(rule, name="placement-rule")

    @extend_schema(summary="Lift a placement rule", responses={204: None})
    def destroy(self, request: Request, pk: int) -> Response:
        placement_rule_delete(actor=self.caller, rule=self.get_object())
        return Response(status=204)
