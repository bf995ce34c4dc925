"""Questions about access: why somebody may do something, and what a change would alter before it is made."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from access import preview
from access.actions import Action
from access.explain import Explanation, explain_for
from access.models import Grant, Team, User
from access.models.grants import SCOPES
from access.services.grants import grant_create, grant_revoke
from access.services.people import member_add, member_remove
from inventory.models import VM, Cluster, Host, Segment
from portal.api.fields import Body, NamedSerializer, PersonSerializer, Reference, VMReference
from portal.api.grants import GrantRequest, GrantSerializer
from portal.api.schema import problems
from portal.api.views import Acting
from portal.declared import SIGNED_IN


class Question(Body):
    """Who, what, and on one object; on everything, without one."""

    user = Reference(queryset=User.objects.all(), required=False, help_text="The caller, if left out.")
    action = serializers.ChoiceField(Action.choices)
    segment = Reference(queryset=Segment.objects.all(), required=False)
    vm = VMReference(queryset=VM.objects.all(), required=False)
    host = Reference(queryset=Host.objects.all(), required=False)
    cluster = Reference(queryset=Cluster.objects.all(), required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Fold the alternatives into `target`."""
        targets = [attrs.pop(name) for name in SCOPES if name in attrs]
        if len(targets) > 1:
            raise serializers.ValidationError("Ask about one object at a time.")
        return {**attrs, "target": next(iter(targets), None)}


class LinkSerializer(serializers.Serializer):
    """A grant that has a say: in the action asked about, or in seeing the object at all."""

    action = serializers.ChoiceField(Action.choices)
    denies = serializers.BooleanField()
    has_ended = serializers.BooleanField()
    grant = GrantSerializer()


class ExplanationSerializer(serializers.Serializer):
    user = PersonSerializer()
    action = serializers.ChoiceField(Action.choices)
    allowed = serializers.BooleanField()
    sentence = serializers.CharField()
    links = LinkSerializer(
        many=True, help_text="What counts most first: denials, then what allows, then what has ended."
    )


class ExplainView(Acting):
    declared_action = SIGNED_IN

    @extend_schema(
        summary="Why somebody may do something, or may not",
        parameters=[
            OpenApiParameter("action", enum=[action.value for action in Action], required=True),
            OpenApiParameter("user", int, description="The caller, if left out."),
            *(OpenApiParameter(name, int if name != "vm" else str) for name in SCOPES),
        ],
        responses={200: ExplanationSerializer, **problems(400, 404)},
    )
    def get(self, request: Request) -> Response:
        question = Question(data=request.query_params.dict(), context={"request": request})
        question.is_valid(raise_exception=True)
        asked = question.validated_data
        found: Explanation = explain_for(
            self.caller, asked.get("user", self.caller), Action(asked["action"]), asked["target"]
        )
        return Response(ExplanationSerializer(found).data)


class MembershipRequest(Body):
    team = Reference(queryset=Team.objects.all())
    user = Reference(queryset=User.objects.all())


class PreviewRequest(Body):
    """One of them."""

    give = GrantRequest(required=False)
    revoke = Reference(queryset=Grant.objects.all(), required=False, help_text="A grant's id.")
    join = MembershipRequest(required=False)
    leave = MembershipRequest(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError("A preview is of one change.")
        return attrs


class DifferenceSerializer(serializers.Serializer):
    user = PersonSerializer()
    kind = serializers.CharField()
    target = NamedSerializer()
    gained = serializers.ListField(child=serializers.ChoiceField(Action.choices))
    lost = serializers.ListField(child=serializers.ChoiceField(Action.choices))


class PreviewView(Acting):
    declared_action = SIGNED_IN

    @extend_schema(
        summary="What a change of access would alter",
        description="Nothing is changed. Only objects that the caller sees are named.",
        request=PreviewRequest,
        responses=DifferenceSerializer(many=True),
    )
    def post(self, request: Request) -> Response:
        body = PreviewRequest(data=request.data, context={"request": request})
        body.is_valid(raise_exception=True)
        ((verb, asked),) = body.validated_data.items()
        return Response(DifferenceSerializer(self._preview(verb, asked), many=True).data)

    def _preview(self, verb: str, asked: Any) -> list[preview.Difference]:
        actor = self.caller
        if verb == "give":
            return preview.of_grant(actor, _like(asked), lambda: grant_create(actor=actor, **asked))
        if verb == "revoke":
            return preview.of_grant(actor, asked, lambda: grant_revoke(actor=actor, grant=asked))
        change = member_add if verb == "join" else member_remove
        return preview.of_membership(
            actor, asked["team"], asked["user"], lambda: change(actor=actor, team=asked["team"], user=asked["user"])
        )


def _like(asked: dict[str, Any]) -> Grant:
    """A grant that is not saved, with the holder and the scope of the one asked for."""
    holder, target = asked["holder"], asked["target"]
    scope = {target._meta.model_name: target} if target is not None else {"everything": True}
    return Grant(**{"team" if isinstance(holder, Team) else "user": holder}, **scope)
