"""Roles. Everybody who is signed in sees them: they say what words mean, not who holds what."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.actions import Action
from access.models import Role
from access.services.roles import role_create
from portal.api.fields import Body
from portal.api.views import NounView
from portal.declared import SIGNED_IN


class RoleSerializer(serializers.ModelSerializer):
    actions = serializers.ListField(child=serializers.ChoiceField(Action.choices))

    class Meta:
        model = Role
        fields = ["id", "slug", "name", "purpose", "actions", "is_template"]
        read_only_fields = fields


class RoleRequest(Body):
    slug = serializers.SlugField(max_length=60)
    name = serializers.CharField(max_length=100)
    purpose = serializers.CharField(max_length=300, default="", allow_blank=True)
    actions = serializers.ListField(child=serializers.ChoiceField(Action.choices), max_length=len(Action.choices))


@extend_schema_view(list=extend_schema(summary="List the roles"), retrieve=extend_schema(summary="One role"))
class RoleView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = SIGNED_IN
    queryset = Role.objects.all()
    serializer_class = RoleSerializer

    def get_queryset(self) -> Any:
        return self.queryset.all()

    @extend_schema(summary="Compose a role", request=RoleRequest, responses={201: RoleSerializer})
    def create(self, request: Request) -> Response:
        role = role_create(actor=self.caller, **self.body(RoleRequest))
        return self.created(role, name="role")
