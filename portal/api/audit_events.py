"""The record, for those who may read it."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from audit.events import ActorKind, EventAction, Outcome, Via
from audit.models import AuditEvent
from audit.record import Target, record_alone
from audit.sign_in import SignIn, sign_in_of
from portal.api.views import NounView


class AuditEventSerializer(serializers.ModelSerializer):
    action = serializers.ChoiceField(EventAction.choices)
    outcome = serializers.ChoiceField(Outcome.choices)
    actor_kind = serializers.ChoiceField(ActorKind.choices)
    via = serializers.ChoiceField(Via.choices)
    sign_in = serializers.SerializerMethodField(help_text="How the actor had shown who they are.")

    class Meta:
        model = AuditEvent
        exclude = ["version"]

    @extend_schema_field(serializers.ChoiceField(SignIn.choices))
    def get_sign_in(self, event: AuditEvent) -> str:
        return sign_in_of(event)


class AuditEventFilters(django_filters.FilterSet):
    actor = django_filters.CharFilter(method="by_actor", label="The actor's id or name.")
    action = django_filters.MultipleChoiceFilter(choices=EventAction.choices)
    outcome = django_filters.MultipleChoiceFilter(choices=Outcome.choices)
    object_type = django_filters.CharFilter(label="The noun: `vm`, `host`, `grant`.")
    object_id = django_filters.CharFilter()
    job = django_filters.CharFilter(field_name="job_id", label="A job's id.")
    segment = django_filters.CharFilter(field_name="segment_id", label="A segment's id.")
    request = django_filters.CharFilter(field_name="request_id", label="A request's id.")
    since = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte", label="From this time on.")
    until = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt", label="Before this time.")

    def by_actor(self, queryset: QuerySet[AuditEvent], name: str, value: str) -> QuerySet[AuditEvent]:
        return queryset.filter(Q(actor_id=value) | Q(actor_name=value))


@extend_schema_view(
    list=extend_schema(summary="List what happened, the newest first"), retrieve=extend_schema(summary="One event")
)
class AuditEventView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = Action.READ_AUDIT
    queryset = AuditEvent.objects.order_by("-id")
    serializer_class = AuditEventSerializer
    filterset_class = AuditEventFilters

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        gate.authorise(self.caller, Action.READ_AUDIT)

    def get_queryset(self) -> Any:
        return self.queryset.all()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The list. That it was read, and with which question, is recorded before it is shown."""
        answer = super().list(request, *args, **kwargs)
        query = {name: values for name, values in request.query_params.lists() if any(values)}
        record_alone(EventAction.AUDIT_READ, detail={"page": "list", "query": query})
        return answer

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """One event. That it was read is recorded before it is shown."""
        answer = super().retrieve(request, *args, **kwargs)
        about = Target(type="audit_event", id=str(kwargs["pk"]))
        record_alone(EventAction.AUDIT_READ, target=about, detail={"page": "event"})
        return answer
