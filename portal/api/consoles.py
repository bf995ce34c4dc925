"""Asking for a VM's console. It is opened, by the ticket, at the console gateway."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from access.actions import Action
from console.services import console_ask, expires_at
from console.sign_in import SignIn
from inventory.models import VM
from portal.api.fields import Body, vm_named, vms_named
from portal.api.views import NounView


class ConsoleTicketSerializer(serializers.Serializer[Any]):
    address = serializers.CharField(help_text="Where the console gateway takes a WebSocket.")
    ticket = serializers.CharField(
        help_text="To be sent there as the first message, as text. Good once, from this sign-in, until it expires."
    )
    expires_at = serializers.DateTimeField()


class ConsoleRequest(Body):
    reason = serializers.CharField(max_length=500, default="", allow_blank=True, help_text="Goes into the record.")


class ConsoleView(NounView):
    """A VM's serial console. What the guest writes comes as bytes, and what is typed goes as bytes."""

    declared_action = Action.CONSOLE
    queryset = VM.objects.all()
    serializer_class = ConsoleTicketSerializer

    @extend_schema(
        summary="Ask for a VM's console",
        request=ConsoleRequest,
        responses={201: ConsoleTicketSerializer},
    )
    def ask(self, request: Request, vm: str) -> Response:
        found = vm_named(self.get_queryset(), vm)
        if found is None:
            self.missing(vms_named(VM.objects.all(), vm))
        console, ticket = console_ask(
            actor=self.caller, vm=found, sign_in=_sign_in(request), **self.body(ConsoleRequest)
        )
        answer = {"address": settings.CONSOLE_URL, "ticket": ticket, "expires_at": expires_at(console)}
        return Response(self.get_serializer(answer).data, status=status.HTTP_201_CREATED)


def _sign_in(request: Request) -> SignIn:
    if isinstance(request.auth, AuthToken):
        return SignIn(token_digest=request.auth.digest)
    return SignIn(session_key=request.session.session_key or "")
