"""VMs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import django_filters
from django.db.models import Prefetch, Q, QuerySet, TextChoices
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from inventory.models import NIC, VM, Host, MigrationPolicy, Segment, Snapshot
from inventory.models.vms import POWER_STATES
from inventory.services.baselines import vm_set_installed
from inventory.services.migration import vm_set_migration
from inventory.services.segments import vm_assign_segment
from jobs.baselines import outlook
from jobs.models import JobLock
from jobs.operations.snapshots.pause import pause_foretold
from portal.api.fields import Body, NamedSerializer, Reference, vm_named, vms_named
from portal.api.filters import Ordering, seen_by
from portal.api.views import NounView


class NICSerializer(serializers.ModelSerializer):
    network = serializers.CharField(source="source", help_text="The libvirt network or the bridge.")
    is_foreign = serializers.SerializerMethodField(help_text="It is on a network of a segment that is not the VM's.")

    class Meta:
        model = NIC
        fields = ["mac", "network", "source_kind", "model", "is_foreign"]

    def get_is_foreign(self, nic: NIC) -> bool:
        return nic.foreign_segment_id is not None


class BaselineSerializer(serializers.ModelSerializer):
    class Meta:
        model = Snapshot
        fields = ["id", "name", "created_at", "missing_since"]


class FindingCode(TextChoices):
    """What can be the matter with a VM."""

    SPLIT_BRAIN = "split_brain", "Two hosts say that they run it"
    MISSING = "missing", "No host shows it"
    FOREIGN_NETWORK = "foreign_network", "On a network of another segment"


class FindingSerializer(serializers.Serializer):
    code = serializers.ChoiceField(FindingCode.choices)
    detail = serializers.CharField()


class VMSerializer(serializers.ModelSerializer):
    """A VM as last observed, with its age in `observed_at`; hosts and segments only where the caller sees them."""

    host = NamedSerializer(source="shown_host", allow_null=True)
    segment = NamedSerializer(source="shown_segment", allow_null=True)
    power_state = serializers.ChoiceField(POWER_STATES)
    nics = NICSerializer(many=True)
    migration_policy = serializers.ChoiceField(
        MigrationPolicy.choices,
        allow_blank=True,
        help_text="How far its migrations may go; empty: as its segment says.",
    )
    baseline = serializers.SerializerMethodField(help_text="The snapshot to fall back to.")
    findings = serializers.SerializerMethodField(help_text="What a person should look at.")
    busy_job = serializers.UUIDField(allow_null=True, help_text="The job that holds the VM now.")
    allowed_actions = serializers.ListField(
        child=serializers.ChoiceField(Action.choices), help_text="What the caller may do to it."
    )

    class Meta:
        model = VM
        fields = [
            "id", "uuid", "name", "title", "host", "segment", "power_state", "state_reason", "memory_mib", "vcpus",
            "observed_at", "missing_since", "is_split", "agent_connected", "nics", "baseline", "findings",
            "busy_job", "migration_policy", "probe_address", "allowed_actions",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(BaselineSerializer(allow_null=True))
    def get_baseline(self, vm: Any) -> dict[str, Any] | None:
        return BaselineSerializer(vm.baselines[0]).data if vm.baselines else None

    @extend_schema_field(FindingSerializer(many=True))
    def get_findings(self, vm: VM) -> list[dict[str, str]]:
        return [{"code": code.value, "detail": detail} for code, detail in _findings(vm)]


class SegmentChange(Body):
    """`segment`: where the VM goes; null for none."""

    segment = Reference(queryset=Segment.objects.all(), allow_null=True)


class VMMigration(Body):
    policy = serializers.ChoiceField(
        MigrationPolicy.choices,
        allow_blank=True,
        help_text="How far its migrations may go; empty: as its segment says.",
    )
    address = serializers.IPAddressField(
        allow_null=True, default=None, help_text="Where the pause of its migrations is measured from outside."
    )


class VMInstalled(Body):
    installed = serializers.BooleanField(help_text="Marked so, the VM gets its baseline by itself.")


class BaselineOutlookSerializer(serializers.Serializer):
    """Whether a VM has its baseline, and if not, when it gets it by itself."""

    baseline = BaselineSerializer(allow_null=True)
    installed_at = serializers.DateTimeField(allow_null=True)
    is_due = serializers.BooleanField(help_text="It is taken shortly.")
    why = serializers.CharField(help_text="Why it is not there yet; empty when it is.")
    foretold_pause_seconds = serializers.FloatField(help_text="How long it would stand still for a snapshot now.")
    foretold_by = serializers.CharField(help_text="What that is taken from.")


class VMFilters(django_filters.FilterSet):
    segment = django_filters.CharFilter(method="in_segment", label="Id or name; `none` for VMs in no segment.")
    host = django_filters.CharFilter(method="on_host", label="Id or name.")
    power_state = django_filters.MultipleChoiceFilter(choices=POWER_STATES)
    search = django_filters.CharFilter(method="matching", label="Part of the name, title or UUID.")
    ordering = Ordering(fields=["name", "power_state", "memory_mib", "vcpus", "observed_at"])

    def in_segment(self, queryset: QuerySet[VM], name: str, value: str) -> QuerySet[VM]:
        if value == "none":
            return queryset.filter(segment=None)
        return queryset.filter(segment__in=seen_by(self.request, Segment.objects, value))

    def on_host(self, queryset: QuerySet[VM], name: str, value: str) -> QuerySet[VM]:
        return queryset.filter(host__in=seen_by(self.request, Host.objects, value))

    def matching(self, queryset: QuerySet[VM], name: str, value: str) -> QuerySet[VM]:
        return queryset.filter(Q(name__icontains=value) | Q(title__icontains=value) | Q(uuid__icontains=value))


@extend_schema_view(
    list=extend_schema(summary="List the VMs that the caller sees"),
    retrieve=extend_schema(summary="One VM", description="By its id or its UUID."),
)
class VMView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = VM.objects.prefetch_related(
        "nics", Prefetch("snapshots", Snapshot.objects.filter(is_baseline=True), to_attr="baselines")
    )
    serializer_class = VMSerializer
    filterset_class = VMFilters
    lookup_value_converter = "slug"

    def get_object(self) -> VM:
        vm = vm_named(self.get_queryset(), self.kwargs["pk"])
        if vm is None:
            self.missing(vms_named(VM.objects.all(), self.kwargs["pk"]))
        self.describe([vm])
        return vm

    def describe(self, objects: list[Any]) -> None:
        """Five statements for any number of VMs."""
        user = self.caller
        hosts: Any = Host.objects.visible_to(user).in_bulk({vm.host_id for vm in objects} - {None})
        segments: Any = Segment.objects.visible_to(user).in_bulk({vm.segment_id for vm in objects} - {None})
        busy = _holders(objects)
        actions = gate.actions_on(user, objects)
        for vm in objects:
            vm.shown_host = hosts.get(vm.host_id)
            vm.shown_segment = segments.get(vm.segment_id)
            vm.busy_job = busy.get(f"vm:{vm.uuid}")
            vm.allowed_actions = sorted(actions[vm.pk])

    @extend_schema(summary="Put a VM into a segment", request=SegmentChange, responses=VMSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        asked = self.body(SegmentChange)
        vm_assign_segment(actor=self.caller, vm=self.get_object(), segment=asked["segment"])
        return Response(VMSerializer(self._again(pk)).data)

    @extend_schema(
        summary="Say how far the VM's migrations may go, and where their pause is measured",
        description="Needs the right to edit it.",
        request=VMMigration,
        responses={200: VMSerializer},
    )
    @action(detail=True, methods=["put"], filterset_class=None)
    def migration(self, request: Request, pk: str) -> Response:
        asked = self.body(VMMigration)
        vm_set_migration(actor=self.caller, vm=self.get_object(), **asked)
        return Response(VMSerializer(self._again(pk)).data)

    @extend_schema(
        summary="When the VM gets its baseline by itself",
        responses={200: BaselineOutlookSerializer},
    )
    @action(detail=True, methods=["get"], filterset_class=None)
    def baseline(self, request: Request, pk: str) -> Response:
        return self._outlook(self.get_object())

    @extend_schema(
        summary="Say that the VM is installed, so that it gets its baseline by itself",
        description="Needs the right to take snapshots of it.",
        request=VMInstalled,
        responses={200: BaselineOutlookSerializer},
    )
    @baseline.mapping.put
    def installed(self, request: Request, pk: str) -> Response:
        return self._outlook(vm_set_installed(actor=self.caller, vm=self.get_object(), **self.body(VMInstalled)))

    def _outlook(self, vm: VM) -> Response:
        found, pause, present = outlook(vm, timezone.now()), pause_foretold(vm), vm.baseline
        facts = {
            "baseline": present if found is None else None,
            "installed_at": vm.installed_at,
            "is_due": found is not None and found.is_due,
            "why": found.why if found is not None else "",
            "foretold_pause_seconds": round(pause.seconds, 3),
            "foretold_by": pause.basis,
        }
        return Response(BaselineOutlookSerializer(facts).data)

    def _again(self, pk: str) -> VM:
        """The VM after the change, which may have taken it out of the caller's sight."""
        vm: Any = vm_named(self.queryset, pk)
        self.describe([vm])
        return vm


def _holders(vms: Iterable[VM]) -> dict[str, Any]:
    """Resource -> id of the job whose lock a new job would meet."""
    resources = [f"vm:{vm.uuid}" for vm in vms]
    return dict(JobLock.objects.filter(resource__in=resources).values_list("resource", "job_id"))


def _findings(vm: VM) -> Iterator[tuple[FindingCode, str]]:
    if vm.is_split:
        yield FindingCode.SPLIT_BRAIN, "Two hosts say that they run this VM."
    elif vm.split_at is not None:
        yield FindingCode.SPLIT_BRAIN, vm.why_stopped
    if vm.missing_since is not None:
        yield FindingCode.MISSING, "No host shows this VM at present."
    for nic in vm.nics.all():
        if nic.foreign_segment_id is not None:
            yield FindingCode.FOREIGN_NETWORK, f"The card {nic.mac} is on {nic.source}, a network of another segment."
