"""Jobs: asking for work, following it, stopping it."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.actions import Action
from inventory.models import VM, Cluster, Host
from jobs.approvals import job_approve, job_reject
from jobs.controls import control_ask
from jobs.errors import InvalidRequest, NotAdmitted
from jobs.models import Approval, Control, Curve, Job, Step
from jobs.operations.migrate.surroundings import MIGRATE
from jobs.operations.registry import OPERATIONS
from jobs.services import job_cancel, job_submit
from jobs.states import State
from portal.api.fields import Body, PersonSerializer, Reference, VMReference, vm_named
from portal.api.filters import KeyFilter, Ordering
from portal.api.host_work import RosterSerializer, roster_shown
from portal.api.rebalance import result_shown
from portal.api.schema import problems
from portal.api.views import NounView

OPERATION_NAMES = [(name, operation.label) for name, operation in sorted(OPERATIONS.items())]
_WAITING = frozenset({State.AWAITING_APPROVAL, State.SCHEDULED})
_LONGEST_KEY = 200
_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Up to 200 printable ASCII characters of the caller's choice. The same request with the same key "
    "gives the job that the first one made, and `Idempotent-Replay: true`; another request with it is refused (409).",
)


class StepSerializer(serializers.ModelSerializer):
    state = serializers.ChoiceField(Step.State.choices)
    seconds = serializers.FloatField(allow_null=True)

    class Meta:
        model = Step
        fields = ["name", "title", "phase", "state", "detail", "started_at", "finished_at", "seconds"]
        read_only_fields = fields


class TargetSerializer(serializers.Serializer):
    """What a job works on: the id under its kind, the others null, and its name at that time."""

    vm = serializers.IntegerField(source="vm_id", allow_null=True)
    host = serializers.IntegerField(source="host_id", allow_null=True)
    cluster = serializers.IntegerField(source="cluster_id", allow_null=True)
    name = serializers.CharField(source="target_name")


class ErrorSerializer(serializers.Serializer):
    """Why a job did not do what was asked."""

    code = serializers.CharField()
    message = serializers.CharField()


class ApprovalSerializer(serializers.ModelSerializer):
    """What a job waits or waited for."""

    verdict = serializers.ChoiceField(Approval.Verdict.choices)
    decided_by = PersonSerializer(allow_null=True)

    class Meta:
        model = Approval
        fields = ["verdict", "expires_at", "decided_by", "decided_at", "reason"]
        read_only_fields = fields


class JobSerializer(serializers.ModelSerializer):
    operation = serializers.ChoiceField(OPERATION_NAMES)
    label = serializers.CharField(help_text="What it does, in words.")
    target = TargetSerializer(source="*")
    params = serializers.DictField()
    state = serializers.ChoiceField(State.choices)
    requested_by = serializers.SerializerMethodField(help_text="Null when Slipway itself asked.")
    progress = serializers.SerializerMethodField(help_text="`phase`, `percent`, and what the operation measures.")
    error = serializers.SerializerMethodField()
    approval = serializers.SerializerMethodField(help_text="Null for work that needed none.")
    parent = serializers.UUIDField(
        source="shown_parent", allow_null=True, help_text="The job it is a part of, if the caller sees that."
    )

    class Meta:
        model = Job
        fields = [
            "id", "operation", "label", "target", "params", "state", "requested_by", "created_at", "started_at",
            "finished_at", "not_before", "attempts", "progress", "error", "cancel_requested_at",
            "approval", "parent",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(PersonSerializer(allow_null=True))
    def get_requested_by(self, job: Job) -> dict[str, Any] | None:
        if job.requested_by_id is None:
            return None
        return {"id": job.requested_by_id, "username": job.requester_name}

    @extend_schema_field(
        {
            "type": "object",
            "properties": {"phase": {"type": "string"}, "percent": {"type": "integer"}},
            "required": ["phase", "percent"],
            "additionalProperties": True,
        }
    )
    def get_progress(self, job: Job) -> dict[str, Any]:
        return {**job.progress, "phase": job.phase, "percent": job.percent}

    @extend_schema_field(ApprovalSerializer(allow_null=True))
    def get_approval(self, job: Job) -> dict[str, Any] | None:
        approval = getattr(job, "approval", None)
        return None if approval is None else ApprovalSerializer(approval).data

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_error(self, job: Job) -> dict[str, str] | None:
        if not job.error_code and not job.error_message:
            return None
        return {"code": job.error_code or job.state, "message": job.error_message}


class ControlSerializer(serializers.ModelSerializer):
    """What somebody wanted of a running migration, and what became of it."""

    verb = serializers.ChoiceField(Control.Verb.choices)
    bandwidth_mib = serializers.IntegerField(source="value", allow_null=True)
    outcome = serializers.ChoiceField(Control.Outcome.choices)
    requested_by = serializers.CharField(source="requester_name")

    class Meta:
        model = Control
        fields = ["verb", "bandwidth_mib", "requested_by", "requested_at", "outcome", "settled_at", "note"]
        read_only_fields = fields


class JobDetailSerializer(JobSerializer):
    """A job with its steps and its result."""

    controls = ControlSerializer(many=True)
    curve = serializers.SerializerMethodField(
        help_text="Of a migration: rows of seconds since it began, bytes left, bytes a second that the link carries "
        "and that the guest writes, the allowed pause in ms, and the slowing down in per cent. Else empty."
    )

    steps = StepSerializer(many=True)
    result = serializers.SerializerMethodField(help_text="What it measured and counted, by its operation.")
    vms = serializers.SerializerMethodField(
        help_text="Of work on a host or a cluster: what becomes of each VM. Else null."
    )

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "steps", "result", "vms", "controls", "curve"]
        read_only_fields = fields

    @extend_schema_field({"type": "array", "items": {"type": "array", "items": {"type": "number"}}})
    def get_curve(self, job: Job) -> list[list[float]]:
        curve = Curve.objects.filter(job=job).first() if job.operation == MIGRATE else None
        return curve.points if curve is not None else []

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_result(self, job: Job) -> dict[str, Any]:
        return result_shown(self.context["request"].user, job)

    @extend_schema_field(RosterSerializer(allow_null=True))
    def get_vms(self, job: Job) -> dict[str, Any] | None:
        return roster_shown(self.context["request"].user, job)


class TargetRequest(Body):
    """One of them."""

    vm = VMReference(queryset=VM.objects.all(), required=False)
    host = Reference(queryset=Host.objects.all(), required=False)
    cluster = Reference(queryset=Cluster.objects.all(), required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError("A target is one VM, host or cluster.")
        return attrs


class JobRequest(Body):
    operation = serializers.ChoiceField(OPERATION_NAMES)
    target = TargetRequest()
    params = serializers.DictField(default=dict, allow_null=True, help_text="What the operation takes; see the manual.")
    break_glass = serializers.CharField(
        max_length=500, default="", allow_blank=True, help_text="Why it goes ahead without the approval that it needs."
    )
    window = serializers.IntegerField(default=None, allow_null=True, help_text="Not available yet: leave it out.")


class CancelRequest(Body):
    reason = serializers.CharField(max_length=500, default="", allow_blank=True)


class ControlRequest(Body):
    verb = serializers.ChoiceField(Control.Verb.choices)
    bandwidth_mib = serializers.IntegerField(
        default=None, allow_null=True, help_text="The new cap in MiB/s, 0 for none; with `set_bandwidth` alone."
    )


class DecisionRequest(Body):
    reason = serializers.CharField(max_length=500, default="", allow_blank=True, help_text="Needed to turn down.")


class JobFilters(django_filters.FilterSet):
    vm = django_filters.CharFilter(method="of_vm", label="Id or UUID.")
    host = KeyFilter(field_name="host", label="Id of the host that it works on.")
    parent = django_filters.UUIDFilter(field_name="parent", label="Id of the job that it is a part of.")
    state = django_filters.MultipleChoiceFilter(choices=State.choices)
    operation = django_filters.MultipleChoiceFilter(choices=OPERATION_NAMES)
    ordering = Ordering(fields=["created_at", "started_at", "finished_at"])

    def of_vm(self, queryset: QuerySet[Job], name: str, value: str) -> QuerySet[Job]:
        return queryset.filter(vm=vm_named(VM.objects.visible_to(self.request.user), value) or -1)


@extend_schema_view(
    list=extend_schema(summary="List the jobs on what the caller sees", responses=JobSerializer(many=True)),
    retrieve=extend_schema(summary="One job, with its steps"),
)
class JobView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.VIEW
    queryset = Job.objects.select_related("approval__decided_by").prefetch_related("steps", "controls")
    serializer_class = JobDetailSerializer
    filterset_class = JobFilters
    lookup_value_converter = "uuid"

    def get_queryset(self) -> Any:
        found = super().get_queryset()
        return found.prefetch_related(None) if self.action == "list" else found

    def describe(self, objects: list[Any]) -> None:
        parents = {job.parent_id for job in objects} - {None}
        seen: Any = Job.objects.visible_to(self.caller).filter(pk__in=parents) if parents else Job.objects.none()
        shown = set(seen.values_list("pk", flat=True))
        for job in objects:
            job.shown_parent = job.parent_id if job.parent_id in shown else None

    def answer(self, job: Job, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        """A job as it is now."""
        self.describe([job])
        return Response(self.get_serializer(job).data, status=status, headers=headers)

    def get_serializer_class(self) -> Any:
        return JobSerializer if self.action == "list" else JobDetailSerializer

    @extend_schema(
        summary="Ask for work",
        description="202 instead of 201 when the job waits for an approval or for a window.",
        parameters=[_KEY],
        request=JobRequest,
        responses={201: JobDetailSerializer, 202: JobDetailSerializer, **problems(422)},
    )
    def create(self, request: Request) -> Response:
        key = _idempotency_key(request)
        asked = self.body(JobRequest)
        if asked["window"] is not None:
            raise NotAdmitted("windows_not_available", "This installation has no maintenance windows yet.")
        (target,) = asked["target"].values()
        job = job_submit(
            actor=self.caller,
            operation=asked["operation"],
            target=target,
            params=asked["params"],
            idempotency_key=key,
            break_glass_reason=asked["break_glass"],
        )
        headers = self.location("job", job.pk)
        if job.is_replay:
            headers["Idempotent-Replay"] = "true"
        return self.answer(job, 202 if job.state in _WAITING else 201, headers)

    @extend_schema(
        summary="Cancel a job",
        description="200 when it is over with that, 202 when its worker was asked to stop.",
        request=CancelRequest,
        responses={200: JobDetailSerializer, 202: JobDetailSerializer},
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def cancel(self, request: Request, pk: str) -> Response:
        job = job_cancel(actor=self.caller, job=self.get_object(), **self.body(CancelRequest))
        return self.answer(job, 200 if job.is_over else 202)

    @extend_schema(
        summary="Change a migration while it runs",
        description="202: the worker that follows it does it within a second, or says why not (`controls`).",
        request=ControlRequest,
        responses={202: JobDetailSerializer, **problems(409, 422)},
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def controls(self, request: Request, pk: str) -> Response:
        asked = self.body(ControlRequest)
        wish = control_ask(actor=self.caller, job=self.get_object(), verb=asked["verb"], value=asked["bandwidth_mib"])
        return self.answer(self.get_queryset().get(pk=wish.job_id), 202)

    @extend_schema(
        summary="Approve a job that waits for it",
        description="For somebody else than who asked, with the right to approve on its target.",
        request=DecisionRequest,
        responses={200: JobDetailSerializer, **problems(409, 422)},
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def approve(self, request: Request, pk: str) -> Response:
        job = job_approve(actor=self.caller, job=self.get_object(), **self.body(DecisionRequest))
        return self.answer(self.get_queryset().get(pk=job.pk))

    @extend_schema(
        summary="Turn down a job that waits for approval",
        request=DecisionRequest,
        responses={200: JobDetailSerializer, **problems(409, 422)},
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def reject(self, request: Request, pk: str) -> Response:
        job = job_reject(actor=self.caller, job=self.get_object(), **self.body(DecisionRequest))
        return self.answer(self.get_queryset().get(pk=job.pk))


def _idempotency_key(request: Request) -> str | None:
    """The header, or None without one. Raises InvalidRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key.isascii() or not key.isprintable() or not 1 <= len(key) <= _LONGEST_KEY:
        raise InvalidRequest(
            f"An Idempotency-Key has 1 to {_LONGEST_KEY} printable ASCII characters.", field="Idempotency-Key"
        )
    return key
