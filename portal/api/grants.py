"""Grants: who was given what on what, by whom and why."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import Effect, Grant, Role, Team, User
from access.models.grants import SCOPES
from access.services.grants import grant_create, grant_revoke
from inventory.models import VM, Cluster, Host, Segment
from portal.api.fields import Body, NamedSerializer, PersonSerializer, Reference, VMReference
from portal.api.filters import KeyFilter, Ordering, is_id
from portal.api.problems import NoSuchObject
from portal.api.views import NounView
from portal.declared import SIGNED_IN

_HOLDERS = ("team", "user")
_ROWS = ("team", "user", "role", "author", *SCOPES)


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class RoleReference(serializers.Field):
    """A role by its slug or id."""

    def to_internal_value(self, data: Any) -> Role:
        """Raises NoSuchObject, ValidationError."""
        if isinstance(data, bool) or not isinstance(data, int | str):
            raise serializers.ValidationError("A role is named by its slug or id.")
        key = {"pk": int(data)} if is_id(str(data)) else {"slug": str(data)}
        role = Role.objects.filter(**key).first()
        if role is None:
            raise NoSuchObject("role")
        return role


class GrantSerializer(serializers.ModelSerializer):
    team = NamedSerializer(allow_null=True)
    user = PersonSerializer(allow_null=True)
    role = serializers.SlugRelatedField("slug", read_only=True)
    segment = NamedSerializer(allow_null=True)
    vm = NamedSerializer(allow_null=True)
    host = NamedSerializer(allow_null=True)
    cluster = NamedSerializer(allow_null=True)
    author = PersonSerializer(allow_null=True, help_text="Null when Slipway itself gave it, at its first start.")

    class Meta:
        model = Grant
        fields = [
            "id",
            *_HOLDERS,
            "role",
            "effect",
            "everything",
            *SCOPES,
            "expires_at",
            "reason",
            "author",
            "created_at",
        ]
        read_only_fields = fields


class GrantRequest(Body):
    """One of `team` and `user`; one of `everything`, `segment`, `vm`, `host` and `cluster`."""

    team = Reference(queryset=Team.objects.all(), required=False)
    user = Reference(queryset=User.objects.all(), required=False)
    role = RoleReference()
    effect = serializers.ChoiceField(Effect.choices, default=Effect.ALLOW)
    everything = serializers.BooleanField(default=False)
    segment = Reference(queryset=Segment.objects.all(), required=False)
    vm = VMReference(queryset=VM.objects.all(), required=False)
    host = Reference(queryset=Host.objects.all(), required=False)
    cluster = Reference(queryset=Cluster.objects.all(), required=False)
    expires_at = serializers.DateTimeField(default=None, allow_null=True)
    reason = serializers.CharField(max_length=500)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Fold the alternatives into `holder` and `target`."""
        holders = [attrs.pop(name) for name in _HOLDERS if name in attrs]
        targets = [attrs.pop(name) for name in SCOPES if name in attrs]
        if len(holders) != 1:
            raise serializers.ValidationError("A grant is for one team or one user.")
        if len(targets) + attrs["everything"] != 1:
            raise serializers.ValidationError("A grant is on everything, or on one segment, VM, host or cluster.")
        return {**attrs, "effect": Effect(attrs["effect"]), "holder": holders[0], "target": next(iter(targets), None)}


class GrantFilters(django_filters.FilterSet):
    team = KeyFilter()
    user = KeyFilter()
    role = django_filters.CharFilter(field_name="role__slug")
    segment = KeyFilter()
    vm = KeyFilter()
    host = KeyFilter()
    cluster = KeyFilter()
    everything = django_filters.BooleanFilter()
    ordering = Ordering(fields=["created_at", "expires_at"])


@extend_schema_view(
    list=extend_schema(summary="List the grants that the caller sees"), retrieve=extend_schema(summary="One grant")
)
class GrantView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = SIGNED_IN
    queryset = Grant.objects.select_related(*_ROWS)
    serializer_class = GrantSerializer
    filterset_class = GrantFilters

    @extend_schema(summary="Grant a role", request=GrantRequest, responses={201: GrantSerializer})
    def create(self, request: Request) -> Response:
        grant = grant_create(actor=self.caller, **self.body(GrantRequest))
        return self.created(grant, name="grant")

    @extend_schema(summary="Take a grant away", responses={204: None})
    def destroy(self, request: Request, pk: int) -> Response:
        grant_revoke(actor=self.caller, grant=self.get_object())
        return Response(status=204)
