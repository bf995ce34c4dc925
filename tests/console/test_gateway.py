"""The gateway, with the simulated estate behind it: what it lets through, what ends a console, and what is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from access.gate import SYSTEM
from access.services.grants import grant_revoke
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from console import carrying, gateway
from console.gateway import NORMAL, POLICY, Gateway
from console.models import Console
from hypervisor.connect import connect
from portal import processes
from tests.console.browser import Browser, live, served
from tests.console.conftest import Person, ended, operator_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_is_typed_is_answered_and_the_end_is_told(estate: Any, person: Person) -> None:
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.until(Browser.opened)
        browser.type(b"echo hush4$?2\r")
        await browser.until(lambda b: b"hush402" in b.shown())
        browser.leave()
        await browser.gone()

    served(scene)
    told = ended()
    assert (told.reason, told.outcome, told.via) == ("The browser closed it.", Outcome.OK, "web")
    assert (told.actor_name, told.object_name) == (person.user.username, estate.vm.name)
    assert told.source_address == "192.0.2.9"
    assert told.detail["bytes_typed"] == len(b"echo hush4$?2\r")
    assert told.detail["bytes_shown"] > 0
    assert "hush" not in str(list(AuditEvent.objects.values_list()))  # neither what was typed nor what was shown


@pytest.mark.parametrize(
    "origin",
    [
        "http://elsewhere.example:8000",
        "http://127.0.0.1.elsewhere.example:8000",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "http://[::1",
        "null",
        "",
        "file://",
    ],
)
def test_a_page_of_another_site_is_turned_away_before_it_may_say_anything(
    estate: Any, person: Person, origin: str
) -> None:
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own, origin=origin)
        browser.say(ticket)
        await browser.gone()
        assert [message["type"] for message in browser.sent] == ["websocket.close"]

    served(scene)
    assert Console.objects.get().opened_at is None


def test_who_shows_no_ticket_takes_nobodys_place(estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "OPEN_AT_A_TIME", 2)
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        silent = [Browser(own) for _ in range(5)]
        browser = Browser(own)
        browser.say(ticket)
        await browser.until(Browser.opened)
        for one in (*silent, browser):
            one.leave()
            await one.gone()

    served(scene)


def test_only_so_many_are_waited_for(estate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "WAITING_AT_A_TIME", 3)

    async def scene(own: Gateway) -> None:
        silent = [Browser(own) for _ in range(3)]
        for one in silent:
            await one.until(lambda b: b.sent)
        late = Browser(own)
        await late.gone()
        assert [message["type"] for message in late.sent] == ["websocket.close"]
        for one in silent:
            one.leave()
            await one.gone()
        assert own._waiting == own._open == 0

    served(scene)


@pytest.mark.parametrize(
    ("base", "console", "port"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8001", "8001"),
        ("http://127.0.0.1:8000", "ws://localhost:9000", "9000"),
        ("https://slipway.example", "wss://slipway.example:444", "444"),
        ("https://slipway.example", "wss://slipway.example/console", "444"),
        ("https://slipway.example:8443", "wss://console.example", "8444"),
    ],
)
def test_portal_and_gateway_never_listen_at_one_port(settings: Any, base: str, console: str, port: str) -> None:
    settings.BASE_URL, settings.CONSOLE_URL = base, console
    ports = [argv[argv.index("--port") + 1] for argv in (processes.web().argv, processes.console().argv)]
    assert ports[1] == port != ports[0]


@pytest.mark.parametrize(
    ("base", "origin", "is_ours"),
    [
        ("https://slipway.example", "https://slipway.example", True),
        ("https://slipway.example:443", "https://slipway.example", True),
        ("https://slipway.example", "https://slipway.example:444", False),
        ("https://slipway.example", "http://slipway.example:443", False),
        ("http://127.0.0.1:8000", "http://localhost:8000", True),
        ("http://127.0.0.1:8000", "http://[::1]:8000", True),
        ("http://127.0.0.1:8000", "http://[::2]:8000", False),
        ("http://127.0.0.1:8000", "http://:8000", False),
    ],
)
def test_a_page_of_ours_is_known_by_its_address(settings: Any, base: str, origin: str, is_ours: bool) -> None:
    settings.BASE_URL, settings.ALLOWED_HOSTS = base, ["slipway.example", "localhost", "127.0.0.1", "[::1]"]
    assert gateway.is_ours({"headers": [(b"origin", origin.encode())]}) is is_ours


def test_a_program_has_no_origin(estate: Any, person: Person) -> None:
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own, origin=None)
        browser.say(ticket)
        await browser.until(Browser.opened)
        browser.leave()
        await browser.gone()

    served(scene)


@pytest.mark.parametrize("given", ["", "x", "y" * 10_000])
def test_without_a_ticket_nothing_opens_and_nobody_is_told_of(estate: Any, given: str) -> None:
    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(given)
        await browser.gone()
        assert "not valid" in browser.ended()
        assert browser.code() == POLICY

    before = AuditEvent.objects.count()
    served(scene)
    assert AuditEvent.objects.count() == before


def test_who_says_nothing_is_not_waited_for(estate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "TICKET_WAIT_SECONDS", 0.05)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        await browser.gone()
        assert browser.code() == POLICY

    served(scene)


def test_a_used_ticket_is_a_refusal_on_the_record(estate: Any, person: Person) -> None:
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        first, second = Browser(own), Browser(own)
        first.say(ticket)
        await first.until(Browser.opened)
        second.say(ticket)
        await second.gone()
        assert second.code() == POLICY
        first.type(b"echo 4$?2\r")
        await first.until(lambda b: b"402" in b.shown())
        first.leave()
        await first.gone()

    served(scene)
    refused = AuditEvent.objects.get(action=EventAction.ACCESS_REFUSED)
    assert (refused.actor_name, refused.object_name) == (person.user.username, estate.vm.name)
    assert refused.detail == {"action": "console", "answer": "ticket_invalid"}


def test_one_at_a_time(estate: Any, person: Person) -> None:
    other = operator_of(estate.vm)
    tickets = [someone.ask(estate.vm)[1] for someone in (person, other)]

    async def scene(own: Gateway) -> None:
        first, second = Browser(own), Browser(own)
        first.say(tickets[0])
        await first.until(Browser.opened)
        second.say(tickets[1])
        await second.gone()
        assert "Somebody has the console" in second.ended()
        first.leave()
        await first.gone()

    served(scene)
    failed = AuditEvent.objects.get(action=EventAction.CONSOLE_ENDED, outcome=Outcome.FAILED)
    assert failed.actor_name == other.user.username


def _withdraw(estate: Any, person: Person) -> None:
    grant_revoke(actor=SYSTEM, grant=person.grant)


def _sign_out(estate: Any, person: Person) -> None:
    person.sign_out()


def _switch_off(estate: Any, person: Person) -> None:
    host = connect(estate.hosts[0].uri)
    host.force_off(str(estate.vm.uuid))
    host.close()


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (_withdraw, "Your right to this console has ended."),
        (_sign_out, "You are signed out."),
        (_switch_off, "The guest's console has ended."),
    ],
)
def test_what_ends_a_console(
    estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch, happens: Any, why: str
) -> None:
    monkeypatch.setattr(carrying, "ASK_AGAIN_SECONDS", 0.05)
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.until(Browser.opened)
        await sync_to_async(happens)(estate, person)
        await browser.gone()
        assert (browser.ended(), browser.code()) == (why, NORMAL)

    served(scene)
    assert ended().reason == why


def test_a_console_that_nobody_uses_ends(estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "ASK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(carrying, "IDLE_SECONDS", 0.1)
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.gone()
        assert browser.ended().startswith("Nothing was typed")

    served(scene)


@pytest.mark.parametrize("nonsense", ["text", "too long", "empty"])
def test_what_is_no_input_ends_the_console(estate: Any, person: Person, nonsense: str) -> None:
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.until(Browser.opened)
        if nonsense == "text":
            browser.say("ls\r")
        else:
            browser.type(b"" if nonsense == "empty" else b"x" * (carrying.MESSAGE_BYTES + 1))
        await browser.gone()
        assert browser.ended() == "The browser sent what is no input."

    served(scene)
    assert ended().detail["bytes_typed"] == 0


def test_a_host_that_cannot_be_reached_is_told(estate: Any, person: Person) -> None:
    type(estate.hosts[0]).objects.update(address="nowhere")
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.gone()
        assert "cannot be reached" in browser.ended()

    served(scene)
    assert ended().outcome == Outcome.FAILED


def test_when_the_gateway_is_stopped_its_consoles_are_told_of(estate: Any, person: Person) -> None:
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.until(Browser.opened)
        browser._served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await browser.gone()

    served(scene)
    assert ended().outcome == Outcome.FAILED


def test_its_start_ends_what_was_left_open_and_no_more_than_so_many_are_open(
    estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(gateway, "OPEN_AT_A_TIME", 1)
    other = operator_of(estate.vm)
    tickets = [someone.ask(estate.vm)[1] for someone in (person, other)]
    Console.objects.filter(user=person.user).update(opened_at="2020-01-01T00:00:00Z")

    async def scene(own: Gateway) -> None:
        assert await live(own) == "lifespan.startup.complete"
        first, second = Browser(own), Browser(own)
        first.say(tickets[1])
        await first.until(Browser.opened)
        second.say(tickets[1])
        await second.gone()
        assert second.code() == gateway.LATER
        first.leave()
        await first.gone()

    served(scene)
    outcomes = AuditEvent.objects.filter(action=EventAction.CONSOLE_ENDED).order_by("pk")
    assert [event.outcome for event in outcomes] == [Outcome.UNKNOWN, Outcome.OK]


def test_a_browser_that_asks_by_http_is_told_so(estate: Any) -> None:
    async def scene(own: Gateway) -> None:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        await own({"type": "http", "headers": []}, asyncio.Queue().get, send)
        assert said[0]["status"] == 404

    served(scene)
