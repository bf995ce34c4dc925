"""A ticket opens one console, of one VM, for one person, once, and only while all that it stands for holds."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.utils import timezone
from knox.models import AuthToken

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from access.services.grants import grant_revoke
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from console import services
from console.errors import NoHost, TicketInvalid
from console.models import Console
from console.sign_in import SignIn
from inventory.models import VM
from tests import factories as make
from tests.console.conftest import Person, operator_of, signed_in

pytestmark = pytest.mark.django_db


def events(*actions: EventAction) -> list[tuple[str, str, str]]:
    """Action, person and VM of what the record tells, the oldest first."""
    found = AuditEvent.objects.filter(action__in=actions or [a for a in EventAction if a.startswith("console.")])
    return [(event.action, event.actor_name, event.object_name) for event in found.order_by("pk")]


def test_asking_and_opening_stand_in_the_record_and_the_ticket_nowhere(estate: Any, person: Person) -> None:
    console, ticket = person.ask(estate.vm, reason="the disk is full")
    opened = services.console_open(ticket=ticket)
    assert opened.pk == console.pk
    who = (person.user.username, estate.vm.name)
    assert events() == [("console.asked", *who), ("console.opened", *who)]
    assert AuditEvent.objects.get(action="console.asked").reason == "the disk is full"
    assert AuditEvent.objects.get(action="console.opened").detail["host"] == "left"
    everything = [*AuditEvent.objects.values_list(), *Console.objects.values_list()]
    assert ticket not in str(everything)


def test_who_may_not_gets_no_ticket(estate: Any) -> None:
    stranger, viewer = make.user(), make.user_with("viewer", estate.vm)
    with pytest.raises(NotVisible):
        services.console_ask(actor=stranger, vm=estate.vm, sign_in=signed_in(stranger))
    with pytest.raises(NotAllowed):
        services.console_ask(actor=viewer, vm=estate.vm, sign_in=signed_in(viewer))
    assert not Console.objects.exists()
    assert events() == []


def test_a_vm_on_no_host_has_no_console(estate: Any, person: Person) -> None:
    _console, ticket = person.ask(estate.vm)
    VM.objects.update(host=None)
    estate.vm.refresh_from_db()
    with pytest.raises(NoHost):
        person.ask(estate.vm)
    with pytest.raises(NoHost):
        services.console_open(ticket=ticket)


def test_a_vm_that_two_hosts_run_has_no_console(estate: Any, person: Person) -> None:
    _console, ticket = person.ask(estate.vm)
    VM.objects.update(is_split=True)
    estate.vm.refresh_from_db()
    with pytest.raises(NoHost):
        person.ask(estate.vm)
    with pytest.raises(NoHost):
        services.console_open(ticket=ticket)


def test_who_came_with_a_token_is_told_of_with_it(estate: Any, person: Person) -> None:
    make.token(person.user)
    person.sign_in = SignIn(token_digest=AuthToken.objects.get(user=person.user).digest)
    opened = services.console_open(ticket=person.ask(estate.vm)[1])
    services.console_end(opened, why="enough")
    told = AuditEvent.objects.filter(action__in=[EventAction.CONSOLE_OPENED, EventAction.CONSOLE_ENDED])
    facts = {(event.via, event.token_id, event.actor_name) for event in told}
    assert facts == {("api", person.sign_in.token_digest[:16], person.user.username)}


def test_a_ticket_is_good_once(estate: Any, person: Person) -> None:
    console, ticket = person.ask(estate.vm)
    services.console_open(ticket=ticket)
    with pytest.raises(TicketInvalid) as refused:
        services.console_open(ticket=ticket)
    assert refused.value.console == console
    services.console_end(console, why="enough")
    with pytest.raises(TicketInvalid):
        services.console_open(ticket=ticket)


def test_a_ticket_is_good_for_half_a_minute(estate: Any, person: Person) -> None:
    console, ticket = person.ask(estate.vm)
    Console.objects.update(asked_at=timezone.now() - timedelta(seconds=services.TICKET_SECONDS))
    with pytest.raises(TicketInvalid):
        services.console_open(ticket=ticket)
    person.ask(estate.vm)  # clears away what nobody can open any more
    assert not Console.objects.filter(pk=console.pk).exists()


@pytest.mark.parametrize("given", ["", "x", "ü" * 40, "\0", "' OR 1=1 --"])
def test_what_is_no_ticket_opens_nothing(estate: Any, person: Person, given: str) -> None:
    person.ask(estate.vm)
    with pytest.raises(TicketInvalid) as refused:
        services.console_open(ticket=given)
    assert refused.value.console is None


def _right_withdrawn(person: Person, vm: VM) -> None:
    grant_revoke(actor=SYSTEM, grant=person.grant)


def _only_looks_on(person: Person, vm: VM) -> None:
    make.grant(person.user, "viewer", vm)
    grant_revoke(actor=SYSTEM, grant=person.grant)


def _denied(person: Person, vm: VM) -> None:
    make.grant(person.user, make.role_of("console"), vm, effect="deny")


def _deactivated(person: Person, vm: VM) -> None:
    type(person.user).objects.filter(pk=person.user.pk).update(is_active=False)


def _moved_out(person: Person, vm: VM) -> None:
    VM.objects.filter(pk=vm.pk).update(segment=make.segment())


@pytest.mark.parametrize("change", [_right_withdrawn, _only_looks_on, _denied, _deactivated, _moved_out])
def test_rights_are_asked_about_again(estate: Any, change: Any) -> None:
    first, second = operator_of(estate.vm), operator_of(estate.vm)
    _console, ticket = first.ask(estate.vm)
    opened = services.console_open(ticket=second.ask(estate.vm)[1])
    assert services.reason_to_end(opened) == ""
    for person in (first, second):
        change(person, estate.vm)
    with pytest.raises((NotAllowed, NotVisible)):
        services.console_open(ticket=ticket)
    opened = Console.objects.select_related("user", "vm").get(pk=opened.pk)
    assert services.reason_to_end(opened) == "Your right to this console has ended."


def test_with_the_sign_in_the_console_ends(estate: Any, person: Person) -> None:
    opened = services.console_open(ticket=person.ask(estate.vm)[1])
    _console, ticket = person.ask(estate.vm)
    person.sign_out()
    assert services.reason_to_end(opened) == "You are signed out."
    with pytest.raises(TicketInvalid):
        services.console_open(ticket=ticket)


def test_with_the_password_the_sign_in_ends(estate: Any, person: Person) -> None:
    opened = services.console_open(ticket=person.ask(estate.vm)[1])
    _console, ticket = person.ask(estate.vm)
    person.user.set_password("another one altogether")
    person.user.save()
    assert services.reason_to_end(opened) == "You are signed out."
    with pytest.raises(TicketInvalid):
        services.console_open(ticket=ticket)


def test_somebody_elses_sign_in_is_none(estate: Any, person: Person) -> None:
    person.sign_in = operator_of(estate.vm).sign_in
    with pytest.raises(TicketInvalid):
        services.console_open(ticket=person.ask(estate.vm)[1])


def test_a_token_is_a_sign_in_until_it_ends(estate: Any, person: Person) -> None:
    make.token(person.user)
    token = AuthToken.objects.get(user=person.user)
    person.sign_in = SignIn(token_digest=token.digest)
    opened = services.console_open(ticket=person.ask(estate.vm)[1])
    assert services.reason_to_end(opened) == ""
    AuthToken.objects.update(expiry=timezone.now())
    assert services.reason_to_end(opened) == "You are signed out."


def test_no_sign_in_is_none(estate: Any, person: Person) -> None:
    person.sign_in = SignIn()
    with pytest.raises(TicketInvalid):
        services.console_open(ticket=person.ask(estate.vm)[1])


def test_what_the_record_does_not_take_does_not_open(estate: Any, person: Person) -> None:
    console, ticket = person.ask(estate.vm)
    with patch.object(services, "record", side_effect=OSError("no space left")), pytest.raises(OSError, match="space"):
        services.console_open(ticket=ticket)
    console.refresh_from_db()
    assert console.opened_at is None
    with patch.object(services, "record", side_effect=OSError("no space left")), pytest.raises(OSError, match="space"):
        person.ask(estate.vm)
    assert Console.objects.count() == 1


def test_an_end_is_told_once_with_its_figures(estate: Any, person: Person) -> None:
    opened = services.console_open(ticket=person.ask(estate.vm)[1])
    services.console_end(opened, why="enough", typed=3, shown=5)
    services.console_end(opened, why="again")
    ended = AuditEvent.objects.get(action=EventAction.CONSOLE_ENDED)
    assert (ended.reason, ended.outcome) == ("enough", Outcome.OK)
    assert (ended.detail["bytes_typed"], ended.detail["bytes_shown"]) == (3, 5)
    assert not Console.objects.exists()
    assert services.reason_to_end(opened) == "The console was ended."


def test_what_a_stopped_gateway_left_open_is_ended_at_its_next_start(estate: Any, person: Person) -> None:
    services.console_open(ticket=person.ask(estate.vm)[1])
    _waiting, ticket = person.ask(estate.vm)
    assert services.consoles_abandoned() == 1
    ended = AuditEvent.objects.get(action=EventAction.CONSOLE_ENDED)
    assert (ended.actor_name, ended.outcome) == (person.user.username, Outcome.UNKNOWN)
    services.console_open(ticket=ticket)  # one that was only asked for is still good


@pytest.mark.parametrize("attempts", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_ticket_of_one_vm_never_opens_another(estate: Any, attempts: int) -> None:
    """Used tickets, tickets of others, tickets with a letter changed: none opens anything but its own VM, once."""
    rng = random.Random(attempts)
    people = [operator_of(estate.vm) for _ in range(3)]
    vms = [estate.vm, *(make.vm(segment=estate.vm.segment, host=estate.hosts[0]) for _ in range(3))]
    good: dict[str, int] = {}
    used: list[str] = []
    for number in range(attempts):
        if number % 10 == 0:
            vm = rng.choice(vms)
            good[rng.choice(people).ask(vm)[1]] = vm.pk
        ticket = rng.choice([*good, *used])
        if rng.random() < 0.5:
            place = rng.randrange(len(ticket))
            ticket = ticket[:place] + rng.choice("abcXYZ-_ 0é") + ticket[place + 1 :]
        if ticket in good:
            assert services.console_open(ticket=ticket).vm_id == good.pop(ticket)
            used.append(ticket)
        else:
            with pytest.raises(TicketInvalid):
                services.console_open(ticket=ticket)
    assert used
    assert AuditEvent.objects.filter(action=EventAction.CONSOLE_OPENED).count() == len(used)
