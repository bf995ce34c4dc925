"""Teams and their members."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import Membership, Team, User
from access.services.people import member_add, member_remove, team_create
from portal.api.fields import Body, Reference
from portal.api.filters import Ordering
from portal.api.users import UserSerializer
from portal.api.views import NounView
from portal.declared import SIGNED_IN

_TEAM = OpenApiParameter("team", int, OpenApiParameter.PATH, description="The team's id.")
_USER = OpenApiParameter("user", int, OpenApiParameter.PATH, description="The member's user id.")


class TeamSerializer(serializers.ModelSerializer):
    class Meta:
        model = Team
        fields = ["id", "name", "description"]
        read_only_fields = fields


class TeamRequest(Body):
    name = serializers.CharField(max_length=150)
    description = serializers.CharField(max_length=500, default="", allow_blank=True)


class TeamFilters(django_filters.FilterSet):
    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains", label="Part of the name.")
    ordering = Ordering(fields=["name"])


@extend_schema_view(
    list=extend_schema(summary="List the teams that the caller sees"), retrieve=extend_schema(summary="One team")
)
class TeamView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = SIGNED_IN
    queryset = Team.objects.all()
    serializer_class = TeamSerializer
    filterset_class = TeamFilters

    @extend_schema(summary="Create a team", request=TeamRequest, responses={201: TeamSerializer})
    def create(self, request: Request) -> Response:
        team = team_create(actor=self.caller, **self.body(TeamRequest))
        return self.created(team, name="team")


class MemberSerializer(serializers.ModelSerializer):
    user = UserSerializer()

    class Meta:
        model = Membership
        fields = ["user", "is_lead", "created_at"]
        read_only_fields = fields


class MemberRequest(Body):
    user = Reference(queryset=User.objects.all())
    is_lead = serializers.BooleanField(default=False, help_text="A lead adds and removes members.")


@extend_schema_view(list=extend_schema(summary="List a team's members", parameters=[_TEAM]))
class MemberView(ListModelMixin, NounView):
    declared_action = SIGNED_IN
    queryset = Membership.objects.select_related("user").order_by("user__username", "pk")
    serializer_class = MemberSerializer

    def get_queryset(self) -> Any:
        return self.queryset.filter(team=self.team())

    def team(self) -> Team:
        """The team of the address. Raises NotVisible, Http404 when the caller does not see it."""
        team = Team.objects.visible_to(self.caller).filter(pk=self.kwargs["team"]).first()
        if team is None:
            self.missing(Team.objects.filter(pk=self.kwargs["team"]))
        return team

    @extend_schema(summary="Add a member", parameters=[_TEAM], request=MemberRequest, responses={201: MemberSerializer})
    def create(self, request: Request, team: int) -> Response:
        membership = member_add(actor=self.caller, team=self.team(), **self.body(MemberRequest))
        return Response(self.get_serializer(membership).data, status=201)

    @extend_schema(summary="Remove a member", parameters=[_TEAM, _USER], responses={204: None})
    def destroy(self, request: Request, team: int, user: int) -> Response:
        found = self.team()
        person = User.objects.visible_to(self.caller).filter(pk=user).first()
        if person is None:
            self.missing(User.objects.filter(pk=user))
        member_remove(actor=self.caller, team=found, user=person)
        return Response(status=204)
