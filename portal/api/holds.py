"""Legal holds: what must stay in the record, whatever its age. For auditors."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access import gate
from access.actions import Action
from access.record_holds import hold_lift, hold_place
from audit.events import EventAction
from audit.holds import Cover, Hold, NoSuchHold, standing_hold, standing_holds
from audit.models import NAME_LENGTH, AuditEvent
from audit.record import record_alone
from portal.api.fields import Body
from portal.api.views import NounView

_NARROWING = ("since", "until", "person", "object", "segment")


class HoldSerializer(serializers.Serializer[Hold]):
    id = serializers.IntegerField(help_text="The number of the event that placed it.")
    name = serializers.CharField()
    reason = serializers.CharField()
    since = serializers.DateTimeField(source="cover.since", allow_null=True)
    until = serializers.DateTimeField(source="cover.until", allow_null=True)
    person = serializers.CharField(source="cover.person")
    object = serializers.CharField(source="cover.object")
    segment = serializers.CharField(source="cover.segment")
    everything = serializers.SerializerMethodField(help_text="Whether the whole record is held.")
    placed_at = serializers.DateTimeField()
    placed_by = serializers.CharField()

    def get_everything(self, hold: Hold) -> bool:
        return hold.cover == Cover()


class HoldRequest(Body):
    name = serializers.CharField(max_length=NAME_LENGTH, help_text="As the case is called.")
    reason = serializers.CharField(max_length=500)
    since = serializers.DateTimeField(default=None, allow_null=True, help_text="From this time on.")
    until = serializers.DateTimeField(default=None, allow_null=True, help_text="Before this time.")
    person = serializers.CharField(max_length=NAME_LENGTH, default="", allow_blank=True, help_text="Whole name or id.")
    object = serializers.CharField(
        max_length=NAME_LENGTH, default="", allow_blank=True, help_text="Whole name, UUID or id."
    )
    segment = serializers.CharField(max_length=NAME_LENGTH, default="", allow_blank=True, help_text="Whole name or id.")
    everything = serializers.BooleanField(default=False, help_text="The whole record, and nothing that narrows it.")

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        """Either something is given, or everything is meant."""
        if any(given[name] for name in _NARROWING) == given["everything"]:
            raise serializers.ValidationError("Say what is held: the whole record, or at least one of the others.")
        return given


class LiftRequest(Body):
    reason = serializers.CharField(max_length=500)


class HoldView(NounView):
    """The holds that stand. Reading them is recorded before they are shown."""

    declared_action = Action.READ_AUDIT
    queryset = AuditEvent.objects.none()  # a hold is its event, and has no table
    serializer_class = HoldSerializer

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        gate.authorise(self.caller, Action.READ_AUDIT)

    @extend_schema(summary="List the legal holds that stand, the oldest first", responses=HoldSerializer(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(standing_holds())
        self._read()
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(summary="One legal hold")
    def retrieve(self, request: Request, pk: int) -> Response:
        hold = self._standing(pk)
        self._read()
        return Response(self.get_serializer(hold).data)

    @extend_schema(summary="Place a legal hold", request=HoldRequest, responses={201: HoldSerializer})
    def create(self, request: Request) -> Response:
        given = self.body(HoldRequest)
        cover = Cover(**{name: given[name] for name in _NARROWING})
        hold = hold_place(actor=self.caller, name=given["name"], reason=given["reason"], cover=cover)
        return Response(self.get_serializer(hold).data, status=201, headers=self.location("hold", hold.id))

    @extend_schema(summary="Lift a legal hold", request=LiftRequest, responses={200: HoldSerializer})
    @action(detail=True, methods=["post"])
    def lift(self, request: Request, pk: int) -> Response:
        reason = self.body(LiftRequest)["reason"]
        try:
            hold = hold_lift(actor=self.caller, hold_id=pk, reason=reason)
        except NoSuchHold as error:
            raise Http404 from error
        return Response(self.get_serializer(hold).data)

    def _standing(self, pk: int) -> Hold:
        try:
            return standing_hold(pk)
        except NoSuchHold as error:
            raise Http404 from error

    def _read(self) -> None:
        record_alone(EventAction.AUDIT_READ, detail={"page": "holds"})
