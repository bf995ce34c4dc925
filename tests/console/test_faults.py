"""The gateway where something else fails: the database, a host, a browser, another gateway, Slipway itself."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from audit.events import Outcome
from audit.locks import file_lock
from console import carrying, gateway, services
from console.gateway import Gateway
from console.models import Console
from tests.console.browser import PATIENCE, Browser, live, served
from tests.console.conftest import Person, ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "fault", [OSError("too many open files"), RuntimeError("no thread can be started"), TimeoutError("too slow")]
)
def test_a_fault_of_slipway_is_not_told_as_the_browsers(
    estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    _console, ticket = person.ask(estate.vm)

    def broken(*_args: Any) -> str:
        raise fault

    monkeypatch.setattr(carrying, "ASK_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(services, "reason_to_end", broken)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        with pytest.raises(type(fault), match=str(fault)):
            await browser.gone()

    served(scene)
    told = ended()
    assert (told.reason, told.outcome) == ("The gateway failed.", Outcome.FAILED)


def test_a_second_gateway_leaves_the_consoles_of_the_first_alone(
    estate: Any, person: Person, settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    person.ask(estate.vm)
    Console.objects.update(opened_at="2020-01-01T00:00:00Z")

    async def scene(own: Gateway) -> None:
        assert await live(own) == "lifespan.startup.failed"

    with file_lock(tmp_path / "console.lock") as acquired:
        assert acquired
        served(scene)
    assert Console.objects.count() == 1


def test_an_end_that_finds_no_database_is_written_down_when_there_is_one(
    estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "FAREWELL_SECONDS", 0.1)
    monkeypatch.setattr(gateway, "TELL_AGAIN_SECONDS", 0.01)
    _console, ticket = person.ask(estate.vm)
    end, is_back = services.console_end, asyncio.Event()

    def without_database(*args: Any, **facts: Any) -> None:
        if not is_back.is_set():
            raise OperationalError("the database is away")
        end(*args, **facts)

    monkeypatch.setattr(services, "console_end", without_database)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.until(Browser.opened)
        browser.say("no input")
        await browser.gone()  # the browser does not wait for the database
        assert browser.ended() == "The browser sent what is no input."
        assert await Console.objects.acount() == 1
        is_back.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*own._ends)

    served(scene)
    assert ended().reason == "The browser sent what is no input."


def test_where_rights_cannot_be_asked_about_a_console_ends(
    estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    _console, ticket = person.ask(estate.vm)

    def without_database(_console: Console) -> str:
        raise OperationalError("the database is away")

    monkeypatch.setattr(carrying, "ASK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(services, "reason_to_end", without_database)

    async def scene(own: Gateway) -> None:
        browser = Browser(own)
        browser.say(ticket)
        await browser.gone()
        assert browser.ended() == "Whether it may go on could not be asked."

    served(scene)
    ended()


class Stuck(Browser):
    """Takes words, but nothing that a guest wrote."""

    async def _take(self, message: Any) -> None:
        if message.get("bytes"):
            await asyncio.Event().wait()
        await super()._take(message)


def test_a_browser_that_takes_nothing_in_is_not_written_for(
    estate: Any, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "UNREAD_SECONDS", 0.1)
    _console, ticket = person.ask(estate.vm)

    async def scene(own: Gateway) -> None:
        browser = Stuck(own)
        browser.say(ticket)
        await browser.until(Browser.opened)
        browser.type(b"echo 4$?2\r")
        await browser.gone()

    served(scene)
    told = ended()
    assert told.reason.startswith("The browser took nothing in")
    assert told.detail["bytes_shown"] == 0


def test_hosts_that_do_not_answer_hold_up_nobodys_rights(estate: Any, person: Person) -> None:
    _console, ticket = person.ask(estate.vm)
    answers = threading.Event()

    async def scene(own: Gateway) -> None:
        waiting = [asyncio.create_task(own._ask_guest(answers.wait)) for _ in range(gateway.OPEN_AT_A_TIME * 4)]
        try:
            browser = Browser(own)
            browser.say(ticket)
            async with asyncio.timeout(PATIENCE):
                while not await Console.objects.filter(opened_at__isnull=False).aexists():
                    await asyncio.sleep(0.01)  # the ticket is taken, though no host answers
        finally:
            answers.set()
        await browser.until(Browser.opened)
        browser.leave()
        await browser.gone()
        await asyncio.gather(*waiting)

    served(scene)
