"""Asking for a console, opening it by its ticket, looking whether it may stay open, and ending it."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from access import gate
from access.actions import Action
from access.models import User
from access.standing import standing_of
from audit.context import Context, ViaName, acting_as
from audit.events import EventAction, Outcome
from audit.record import record
from console.errors import NoHost, TicketInvalid
from console.models import Console
from console.sign_in import SignIn
from inventory.models import VM

#: A ticket is used once, by the page that asked for it, at once.
TICKET_SECONDS = 30


def expires_at(console: Console) -> datetime:
    """When its ticket is no longer good."""
    return console.asked_at + timedelta(seconds=TICKET_SECONDS)


@transaction.atomic
def console_ask(*, actor: User, vm: VM, sign_in: SignIn, reason: str = "") -> tuple[Console, str]:
    """Ask for a VM's console. Needs CONSOLE on the VM. Returns it with its ticket, which is kept nowhere.

    Raises NotVisible, NotAllowed, NoHost.
    """
    gate.authorise(actor, Action.CONSOLE, vm)
    if vm.host_id is None or vm.is_split:
        raise NoHost
    now = timezone.now()
    Console.objects.filter(opened_at=None, asked_at__lt=now - timedelta(seconds=TICKET_SECONDS)).delete()
    ticket = secrets.token_urlsafe(32)
    console = Console.objects.create(
        user=actor,
        vm=vm,
        ticket_digest=_digest(ticket),
        session_key=sign_in.session_key,
        token_digest=sign_in.token_digest,
        asked_at=now,
    )
    record(EventAction.CONSOLE_ASKED, target=vm, actor=actor, reason=reason, detail={"console": console.pk})
    return console, ticket


@transaction.atomic
def console_open(*, ticket: str) -> Console:
    """Take a ticket, for good: before the host is asked, so that no console opens that the record does not know.

    Who asked for it is asked about again, as everything else. Raises TicketInvalid, NotVisible, NotAllowed, NoHost.
    """
    about = Console.objects.select_related("user", "vm__host", "vm__segment").select_for_update(of=("self",))
    console = about.filter(ticket_digest=_digest(ticket)).first()
    now = timezone.now()
    if (
        console is None
        or console.opened_at
        or now >= expires_at(console)
        or not _sign_in(console).stands(console.user_id)
    ):
        raise TicketInvalid(console)
    with as_its_person(console):
        gate.authorise(console.user, Action.CONSOLE, console.vm)
        if console.vm.host is None or console.vm.is_split:
            raise NoHost
        console.opened_at = now
        console.save(update_fields=["opened_at"])
        detail = {"console": console.pk, "host": console.vm.host.name}
        record(EventAction.CONSOLE_OPENED, target=console.vm, detail=detail)
    return console


def reason_to_end(console: Console) -> str:
    """Why an open console may not go on, in a sentence; empty while it may."""
    if not Console.objects.filter(pk=console.pk).exists():
        return "The console was ended."
    if not _sign_in(console).stands(console.user_id):
        return "You are signed out."
    if not gate.can(console.user, Action.CONSOLE, console.vm):
        return "Your right to this console has ended."
    return ""


@transaction.atomic
def console_end(console: Console, *, why: str, outcome: Outcome = Outcome.OK, typed: int = 0, shown: int = 0) -> None:
    """Write down that it ended, why, and how many bytes went either way; their content is nobody's. Done once."""
    ended, _ = Console.objects.filter(pk=console.pk).delete()
    if not ended:
        return
    seconds = (timezone.now() - (console.opened_at or console.asked_at)).total_seconds()
    facts = {"console": console.pk, "seconds": round(seconds, 1), "bytes_typed": typed, "bytes_shown": shown}
    with as_its_person(console):
        record(EventAction.CONSOLE_ENDED, target=console.vm, outcome=outcome, reason=why, detail=facts)


def as_its_person(console: Console) -> AbstractContextManager[Context]:
    """Act as who is at it, by the door and the token that they came with."""
    token = console.token_digest[:16]
    via: ViaName = "api" if token else "web"
    return acting_as(console.user, via=via, token_id=token, standing=standing_of(console.user))


def consoles_abandoned() -> int:
    """At the start of the gateway: end what it left open when it was last stopped. Returns how many."""
    left = list(Console.objects.select_related("user", "vm__segment").exclude(opened_at=None))
    for console in left:
        console_end(console, why="The console gateway was stopped.", outcome=Outcome.UNKNOWN)
    return len(left)


def _sign_in(console: Console) -> SignIn:
    return SignIn(session_key=console.session_key, token_digest=console.token_digest)


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
