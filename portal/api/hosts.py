"""Hosts."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from inventory.leftovers import leftover_keep, leftovers_of
from inventory.models import VM, Cluster, Host
from inventory.paths import paths_of
from inventory.services.hosts import host_create, host_sync_requested
from inventory.services.placement import host_set_reserved
from jobs.approvals import Work, needs_approval
from jobs.operations.hosts.survey import outlook
from jobs.operations.registry import operation_named
from jobs.retiring import host_retire
from jobs.tasks import sync_host
from portal.api.fields import Body, NamedSerializer, Reference
from portal.api.filters import Ordering, seen_by
from portal.api.host_work import DrainPlanSerializer, LeftoversSerializer, PathSerializer, paths_shown, plan_shown
from portal.api.problems import NoSuchObject
from portal.api.views import NounView

log = logging.getLogger(__name__)


class HostSerializer(serializers.ModelSerializer):
    """A host as last observed. Its address and what its connection said are for those who operate it."""

    cluster = NamedSerializer(source="shown_cluster", allow_null=True)
    uri = serializers.SerializerMethodField()
    connection = serializers.ChoiceField(Host.Connection.choices)
    connection_error = serializers.SerializerMethodField()
    availability = serializers.ChoiceField(Host.Availability.choices)
    in_maintenance = serializers.BooleanField(help_text="Whether it takes no VMs at present.")
    allowed_actions = serializers.ListField(child=serializers.ChoiceField(Action.choices))

    class Meta:
        model = Host
        fields = [
            "id", "name", "cluster", "uri", "availability", "in_maintenance", "connection", "connection_error",
            "observed_at", "hostname", "cpus", "cpu_model", "memory_mib", "memory_free_mib", "reserved_mib",
            "hypervisor", "hypervisor_version", "library_version", "allowed_actions",
        ]  # fmt: skip
        read_only_fields = fields

    def get_uri(self, host: Any) -> str | None:
        return str(host.uri) if Action.OPERATE_HOST in host.allowed_actions else None

    def get_connection_error(self, host: Any) -> str | None:
        return host.connection_error if Action.OPERATE_HOST in host.allowed_actions else None


class HostRequest(Body):
    name = serializers.CharField(max_length=100)
    uri = serializers.CharField(
        max_length=300,
        help_text="`qemu+tls://host[:port]/system`, `qemu+ssh://[user@]host[:port]/system` or `qemu:///system`.",
    )
    cluster = Reference(queryset=Cluster.objects.all())


class HostChange(Body):
    reserved_mib = serializers.IntegerField(
        min_value=0, max_value=2**31 - 1, help_text="Memory in MiB that is kept free of VMs."
    )


class HostFilters(django_filters.FilterSet):
    cluster = django_filters.CharFilter(method="in_cluster", label="Id or name.")
    connection = django_filters.ChoiceFilter(choices=Host.Connection.choices)
    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains", label="Part of the name.")
    ordering = Ordering(fields=["name", "memory_free_mib", "observed_at"])

    def in_cluster(self, queryset: QuerySet[Host], name: str, value: str) -> QuerySet[Host]:
        return queryset.filter(cluster__in=seen_by(self.request, Cluster.objects, value))


@extend_schema_view(
    list=extend_schema(summary="List the hosts that the caller sees"), retrieve=extend_schema(summary="One host")
)
class HostView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = Host.objects.all()
    serializer_class = HostSerializer
    filterset_class = HostFilters

    def describe(self, objects: list[Any]) -> None:
        clusters: Any = Cluster.objects.visible_to(self.caller).in_bulk({host.cluster_id for host in objects})
        actions = gate.actions_on(self.caller, objects)
        for host in objects:
            host.shown_cluster = clusters.get(host.cluster_id)
            host.allowed_actions = sorted(actions[host.pk])

    @extend_schema(summary="Enrol a host", request=HostRequest, responses={201: HostSerializer})
    def create(self, request: Request) -> Response:
        host = host_create(actor=self.caller, **self.body(HostRequest))
        return self.created(host, name="host")

    @extend_schema(summary="Say how much memory a host keeps for itself", request=HostChange, responses=HostSerializer)
    def partial_update(self, request: Request, pk: int) -> Response:
        asked = self.body(HostChange)
        host = host_set_reserved(actor=self.caller, host=self.get_object(), mib=asked["reserved_mib"])
        self.describe([host])
        return Response(self.get_serializer(host).data)

    @extend_schema(summary="Remove a host from the inventory", responses={204: None})
    def destroy(self, request: Request, pk: int) -> Response:
        host_retire(actor=self.caller, host=self.get_object())
        return Response(status=204)

    @extend_schema(
        summary="What draining a host would do",
        description="As is observed now, and as far as the caller sees; the job asks the hosts again. Needs the right "
        "to operate the host.",
        responses=DrainPlanSerializer,
    )
    @action(detail=True, url_path="drain-plan", filterset_class=None)
    def drain_plan(self, request: Request, pk: int) -> Response:
        host, drain = self.get_object(), operation_named("host.drain")
        gate.authorise(self.caller, drain.action, host)
        plan = outlook(self.caller, host)
        asks = needs_approval(self.caller, Work(drain, host, {}, drain.extent(self.caller, host, {})))
        return Response(DrainPlanSerializer(plan_shown(plan, needs_approval=asks)).data)

    @extend_schema(
        summary="The paths from and to a host",
        description="One for each way between the host and another one of its cluster that the caller sees.",
        responses=PathSerializer(many=True),
    )
    @action(detail=True, filterset_class=None, pagination_class=None)
    def paths(self, request: Request, pk: int) -> Response:
        host = self.get_object()
        pairs = paths_of(host, Host.objects.visible_to(self.caller))
        operates = gate.can(self.caller, Action.OPERATE_HOST, host)
        return Response(paths_shown(pairs, with_reasons=operates))

    @extend_schema(
        summary="Files that VMs left on a host when their disks were copied to another one",
        description="Needs the right to operate the host.",
        responses=LeftoversSerializer,
    )
    @action(detail=True, filterset_class=None)
    def leftovers(self, request: Request, pk: int) -> Response:
        host = self.get_object()
        gate.authorise(self.caller, Action.OPERATE_HOST, host)
        entries, hidden = leftovers_of(host, VM.objects.visible_to(self.caller))
        return Response(LeftoversSerializer({"entries": entries, "hidden": hidden}).data)

    @extend_schema(summary="Keep such a file for good", request=None, responses={204: None})
    @action(detail=True, methods=["post"], url_path="leftovers/<int:leftover>/keep", url_name="leftover-keep")
    def keep(self, request: Request, pk: int, leftover: int) -> Response:
        host = self.get_object()
        gate.authorise(self.caller, Action.OPERATE_HOST, host)
        entries, _hidden = leftovers_of(host, VM.objects.visible_to(self.caller))
        found = next((entry for entry in entries if entry.pk == leftover), None)
        if found is None:
            raise NoSuchObject("leftover")
        leftover_keep(actor=self.caller, leftover=found)
        return Response(status=204)

    @extend_schema(summary="Read a host now", request=None, responses={202: HostSerializer})
    @action(detail=True, methods=["post"], filterset_class=None)
    def sync(self, request: Request, pk: int) -> Response:
        host = self.get_object()
        with transaction.atomic():
            host_sync_requested(actor=self.caller, host=host)
            transaction.on_commit(partial(_nudge, host), robust=True)
        return Response(self.get_serializer(host).data, status=202)


def _nudge(host: Host) -> None:
    """Ask a worker near the host to read it. A broker that is down is made up for by the next regular pass."""
    try:
        sync_host.apply_async(args=(host.pk, True), queue=host.cluster.queue, retry=False)
    except Exception as error:  # whatever the broker's client raises
        log.warning("host %s: the queue did not take the nudge: %s", host.name, error)
