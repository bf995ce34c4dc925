"""Somebody with a right to a console, signed in by the portal or by a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from knox.models import AuthToken

from access.models import Grant, User
from audit.events import EventAction
from audit.models import AuditEvent
from console.models import Console
from console.services import console_ask
from console.sign_in import SignIn
from inventory.models import VM
from tests import factories as make
from tests.jobs.conftest import estate

__all__ = ["estate"]


@dataclass
class Person:
    """Operates a VM's segment, and is signed in."""

    user: User
    grant: Grant
    sign_in: SignIn

    def ask(self, vm: VM, **given: Any) -> tuple[Console, str]:
        """The console and its ticket."""
        return console_ask(actor=self.user, vm=vm, sign_in=self.sign_in, **given)

    def sign_out(self) -> None:
        """End the sign-in, whichever it is."""
        Session.objects.filter(session_key=self.sign_in.session_key).delete()
        AuthToken.objects.filter(digest=self.sign_in.token_digest).delete()


def signed_in(user: User) -> SignIn:
    """By the portal."""
    client = Client()
    client.force_login(user, backend="access.backends.GateBackend")
    return SignIn(session_key=client.session.session_key or "")


def operator_of(vm: VM) -> Person:
    """Somebody who operates the VM's segment."""
    user = make.user()
    return Person(user, make.grant(user, "operator", vm.segment), signed_in(user))


def ended() -> AuditEvent:
    """The one end that the record tells of."""
    assert not Console.objects.exclude(opened_at=None).exists()
    return AuditEvent.objects.get(action=EventAction.CONSOLE_ENDED)


@pytest.fixture
def person(estate: Any) -> Person:
    """Of the estate's VM."""
    return operator_of(estate.vm)
