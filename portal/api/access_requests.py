"""Access for a while: asking, deciding, taking back."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import AccessRequest
from access.models.grants import SCOPES
from access.services import requests as services
from inventory.models import VM, Cluster, Host, Segment
from portal.api.fields import Body, NamedSerializer, PersonSerializer, Reference, VMReference
from portal.api.grants import RoleReference
from portal.api.views import NounView
from portal.declared import SIGNED_IN


class AccessRequestSerializer(serializers.ModelSerializer):
    user = PersonSerializer()
    role = serializers.SlugRelatedField("slug", read_only=True)
    segment = NamedSerializer(allow_null=True)
    vm = NamedSerializer(allow_null=True)
    host = NamedSerializer(allow_null=True)
    cluster = NamedSerializer(allow_null=True)
    verdict = serializers.ChoiceField(AccessRequest.Verdict.choices)
    decided_by = PersonSerializer(allow_null=True)

    class Meta:
        model = AccessRequest
        fields = [
            "id", "user", "role", *SCOPES, "hours", "reason", "created_at", "expires_at", "verdict", "decided_by",
            "decided_at", "note", "grant",
        ]  # fmt: skip
        read_only_fields = fields


class NewAccessRequest(Body):
    """One of `segment`, `vm`, `host` and `cluster`."""

    role = RoleReference()
    segment = Reference(queryset=Segment.objects.all(), required=False)
    vm = VMReference(queryset=VM.objects.all(), required=False)
    host = Reference(queryset=Host.objects.all(), required=False)
    cluster = Reference(queryset=Cluster.objects.all(), required=False)
    hours = serializers.IntegerField(min_value=1, max_value=services.LONGEST_HOURS)
    reason = serializers.CharField(max_length=500)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Fold the alternatives into `target`."""
        targets = [attrs.pop(name) for name in SCOPES if name in attrs]
        if len(targets) != 1:
            raise serializers.ValidationError("Ask for a role on one segment, VM, host or cluster.")
        return {**attrs, "target": targets[0]}


class Note(Body):
    note = serializers.CharField(max_length=500, default="", allow_blank=True, help_text="Needed to turn down.")


class AccessRequestFilters(django_filters.FilterSet):
    verdict = django_filters.ChoiceFilter(choices=AccessRequest.Verdict.choices)


@extend_schema_view(
    list=extend_schema(summary="List the requests for access: one's own, and those one may decide"),
    retrieve=extend_schema(summary="One request for access"),
)
class AccessRequestView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = SIGNED_IN
    queryset = AccessRequest.objects.select_related("user", "role", "decided_by", *SCOPES)
    serializer_class = AccessRequestSerializer
    filterset_class = AccessRequestFilters

    @extend_schema(
        summary="Ask for a role for some hours", request=NewAccessRequest, responses={201: AccessRequestSerializer}
    )
    def create(self, request: Request) -> Response:
        made = services.access_request(actor=self.caller, **self.body(NewAccessRequest))
        return self.created(made, name="access-request")

    @extend_schema(summary="Give it", request=Note, responses={200: AccessRequestSerializer})
    @action(detail=True, methods=["post"], filterset_class=None)
    def grant(self, request: Request, pk: int) -> Response:
        asked = self.get_object()
        made = services.access_request_grant(actor=self.caller, request=asked, **self.body(Note))
        return Response(self.get_serializer(made).data)

    @extend_schema(summary="Turn it down", request=Note, responses={200: AccessRequestSerializer})
    @action(detail=True, methods=["post"], filterset_class=None)
    def refuse(self, request: Request, pk: int) -> Response:
        asked = self.get_object()
        made = services.access_request_refuse(actor=self.caller, request=asked, **self.body(Note))
        return Response(self.get_serializer(made).data)

    @extend_schema(summary="Take one's own back", request=None, responses={200: AccessRequestSerializer})
    @action(detail=True, methods=["post"], filterset_class=None)
    def withdraw(self, request: Request, pk: int) -> Response:
        made = services.access_request_withdraw(actor=self.caller, request=self.get_object())
        return Response(self.get_serializer(made).data)
