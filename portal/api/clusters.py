"""Clusters."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from inventory.models import Cluster
from inventory.services.hosts import cluster_change, cluster_create
from jobs.approvals import Work, needs_approval
from jobs.operations.rebalance.proposal import propose
from jobs.operations.registry import operation_named
from portal.api.fields import Body
from portal.api.rebalance import OPERATION, RebalancePlanSerializer, plan_shown
from portal.api.views import NounView


class ClusterSerializer(serializers.ModelSerializer):
    balancing = serializers.ChoiceField(Cluster.Balancing.choices)
    allowed_actions = serializers.ListField(child=serializers.ChoiceField(Action.choices))

    class Meta:
        model = Cluster
        fields = [
            "id", "name", "shared_storage", "encrypted_migrations", "queue", "balancing", "allowed_actions",
        ]  # fmt: skip
        read_only_fields = fields


class ClusterRequest(Body):
    name = serializers.CharField(max_length=100)
    shared_storage = serializers.BooleanField(
        default=False, help_text="All hosts see the same image store at the same path, though libvirt cannot tell."
    )
    encrypted_migrations = serializers.BooleanField(
        default=False, help_text="Migrations' streams are encrypted: each host has a certificate for its QEMUs."
    )
    queue = serializers.SlugField(
        max_length=60, default="slipway", help_text="Queue whose workers sit near these hosts."
    )


class ClusterChange(Body):
    shared_storage = serializers.BooleanField(required=False)
    encrypted_migrations = serializers.BooleanField(required=False)
    balancing = serializers.ChoiceField(Cluster.Balancing.choices, required=False)


@extend_schema_view(
    list=extend_schema(summary="List the clusters that the caller sees"),
    retrieve=extend_schema(summary="One cluster"),
)
class ClusterView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = Cluster.objects.all()
    serializer_class = ClusterSerializer

    def describe(self, objects: list[Any]) -> None:
        actions = gate.actions_on(self.caller, objects)
        for cluster in objects:
            cluster.allowed_actions = sorted(actions[cluster.pk])

    @extend_schema(summary="Create a cluster", request=ClusterRequest, responses={201: ClusterSerializer})
    def create(self, request: Request) -> Response:
        cluster = cluster_create(actor=self.caller, **self.body(ClusterRequest))
        return self.created(cluster, name="cluster")

    @extend_schema(summary="Change a cluster", request=ClusterChange, responses=ClusterSerializer)
    def partial_update(self, request: Request, pk: int) -> Response:
        asked = self.body(ClusterChange)
        cluster_change(actor=self.caller, cluster=self.get_object(), **asked)
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        summary="What rebalancing a cluster would do",
        description="As is observed now, by the caller's rights and as far as the caller sees; the job asks the hosts "
        "again. Needs the right to operate the cluster's hosts.",
        responses=RebalancePlanSerializer,
    )
    @action(detail=True, url_path="rebalance-plan")
    def rebalance_plan(self, request: Request, pk: int) -> Response:
        cluster, rebalance = self.get_object(), operation_named(OPERATION)
        gate.authorise(self.caller, rebalance.action, cluster)
        found = propose(self.caller, cluster)
        extent = [move.vm.pk for move in found.moves]
        asks = needs_approval(self.caller, Work(rebalance, cluster, {"mode": "run"}, extent))
        return Response(RebalancePlanSerializer(plan_shown(self.caller, found, needs_approval=asks)).data)
