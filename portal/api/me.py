"""Who am I?"""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import Membership
from portal.api.authentication import token_id
from portal.api.views import Acting
from portal.declared import SIGNED_IN


class MyTeamSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="team_id")
    name = serializers.CharField(source="team.name")
    is_lead = serializers.BooleanField()


class MyTokenSerializer(serializers.Serializer):
    id = serializers.SerializerMethodField(help_text="How the record names this token.")
    expires_at = serializers.DateTimeField(source="expiry", allow_null=True)

    def get_id(self, token: AuthToken) -> str:
        return token_id(token)


class MeSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    username = serializers.CharField()
    full_name = serializers.CharField()
    teams = MyTeamSerializer(many=True)
    token = MyTokenSerializer(allow_null=True, help_text="Null for a call with the portal's session.")


class MeView(Acting):
    declared_action = SIGNED_IN

    @extend_schema(summary="Who calls, and by which token", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        user = self.caller
        me = {
            "id": user.pk,
            "username": user.username,
            "full_name": user.get_full_name(),
            "teams": Membership.objects.filter(user=user).select_related("team").order_by("team__name"),
            "token": request.auth,
        }
        return Response(MeSerializer(me).data)
