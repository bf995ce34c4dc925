"""The console gateway: takes a ticket from a browser's WebSocket, opens the guest's console, and carries it.

A browser sends the ticket as its first message, as text. From then on its messages are what is typed, and the
gateway's are what the guest writes, as bytes; as text the gateway says `{"opened": {...}}` and `{"ended": "why"}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.http.request import validate_host

from access.actions import Action
from access.errors import NotAllowed, NotVisible
from audit.context import acting_as
from audit.events import EventAction, Outcome
from audit.locks import file_lock
from audit.record import record_alone
from console import services
from console.carrying import Carrying, Message, Receive, Send
from console.errors import BrowserGone, ConsoleError, TicketInvalid
from console.models import Console
from hypervisor import pool
from hypervisor.errors import HypervisorError
from hypervisor.protocol import Console as GuestConsole

log = logging.getLogger(__name__)

#: Consoles that are open at a time. Each takes two threads for its guest nearly always, and a third now and then.
OPEN_AT_A_TIME = 20
#: Threads that ask the database. Their own, so that hosts that do not answer hold up nobody's rights and ends.
ASKING_AT_A_TIME = 8
#: Browsers that have shown no ticket yet, at a time, and how long each is waited for.
WAITING_AT_A_TIME = 100
TICKET_WAIT_SECONDS = 10.0
#: How long a browser may take to hear that it is over.
FAREWELL_SECONDS = 5.0
#: When the end of a console is written down again that could not be, because the database was away.
TELL_AGAIN_SECONDS = 5.0
LONGEST_TICKET = 200
#: RFC 6455: gone away normally; broke the rules; try again later.
NORMAL, POLICY, LATER = 1000, 1008, 1013


class Gateway:
    """The ASGI application."""

    def __init__(self) -> None:
        self._for_guests = ThreadPoolExecutor(OPEN_AT_A_TIME * 4, thread_name_prefix="guest")
        self._for_database = ThreadPoolExecutor(ASKING_AT_A_TIME, thread_name_prefix="database")
        self._open = self._waiting = 0
        self._ends: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await self._answer(scope, receive, send)
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b"Consoles are opened by WebSocket.\n"})

    async def _live(self, receive: Receive, send: Send) -> None:
        """From start to stop, as the only one: the start ends all consoles, and another's must not be among them."""
        await receive()  # lifespan.startup
        with file_lock(Path(settings.DATA_DIR) / "console.lock") as is_only:
            if not is_only:
                await send({"type": "lifespan.startup.failed", "message": "Another console gateway is at work."})
                return
            left = await self._ask_database(services.consoles_abandoned)
            if left:
                log.warning("%d consoles had been left open.", left)
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if not is_ours(scope) or self._waiting >= WAITING_AT_A_TIME:
            await send({"type": "websocket.close", "code": POLICY})
            return
        send = _to_browser(send)
        try:
            await send({"type": "websocket.accept"})
            why, code = await self._serve(scope, receive, send)
            await _bid_farewell(send, why, code)
        except BrowserGone:
            log.debug("a browser went away", exc_info=True)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> tuple[str, int]:
        """Why the console ended, or did not open, and the code to close with."""
        self._waiting += 1
        try:
            ticket = await _ticket(receive)
        finally:
            self._waiting -= 1
        if self._open >= OPEN_AT_A_TIME:  # who has shown no ticket yet takes nobody's place
            return f"{OPEN_AT_A_TIME} consoles are open, and no more can be. Try again later.", LATER
        self._open += 1
        try:
            return await self._admit(scope, ticket, receive, send)
        finally:
            self._open -= 1

    async def _admit(self, scope: Message, ticket: str, receive: Receive, send: Send) -> tuple[str, int]:
        """Take the ticket, and carry the console."""
        address = (scope.get("client") or ("", 0))[0]
        with acting_as(None, via="web", source_address=address):
            try:
                console: Console = await self._ask_database(services.console_open, ticket=ticket)
            except (ConsoleError, NotAllowed, NotVisible) as error:
                await self._ask_database(_record_refusal, error)
                return str(error), POLICY
        with acting_as(console.user, via="web", source_address=address):
            return await self._carry(console, receive, send), NORMAL

    async def _carry(self, console: Console, receive: Receive, send: Send) -> str:
        """Open the guest's console, carry it, and write down its end, whatever happens."""
        why, outcome, carrying = "The gateway failed.", Outcome.FAILED, None
        try:
            stack, guest = await self._ask_guest(_open, console)
            try:
                carrying = Carrying(console, guest, receive, send, self._ask_guest, self._ask_database)
                await _say(send, {"opened": {"vm": console.vm.name}})
                why, outcome = await carrying.run(), Outcome.OK
            finally:
                await asyncio.shield(self._ask_guest(stack.close))
        except HypervisorError as error:
            why = error.message
        except BrowserGone:
            why, outcome = "The browser closed it.", Outcome.OK
        finally:
            moved = {} if carrying is None else {"typed": carrying.typed, "shown": carrying.shown}
            await self._tell(console, why=why, outcome=outcome, **moved)
        return why

    async def _tell(self, console: Console, **end: Any) -> None:
        """Write down its end; without a database as soon as there is one again, and the browser is not kept waiting."""
        telling = asyncio.create_task(self._tell_at_last(console, end))
        self._ends.add(telling)  # also when the gateway is being stopped
        telling.add_done_callback(self._ends.discard)
        done, _ = await asyncio.wait([telling], timeout=FAREWELL_SECONDS)
        for told in done:
            told.result()

    async def _tell_at_last(self, console: Console, end: dict[str, Any]) -> None:
        while True:
            try:
                await self._ask_database(services.console_end, console, **end)
            except DatabaseError:
                log.warning("The end of console %s could not be written down yet.", console.pk, exc_info=True)
                await asyncio.sleep(TELL_AGAIN_SECONDS)
            else:
                return

    async def _ask_guest(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Run what waits for a host in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._for_guests, function, *args)

    async def _ask_database(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run what waits for the database in a thread, with the context of now, on a connection that is fresh."""

        def run() -> Any:
            close_old_connections()
            try:
                return function(*args, **kwargs)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._for_database, copy_context().run, run)


def _open(console: Console) -> tuple[ExitStack, GuestConsole]:
    """The guest's console, and what to close after it. Raises HypervisorError."""
    host = console.vm.host
    assert host is not None, "console_open saw to that"  # noqa: S101
    with ExitStack() as stack:
        connection = stack.enter_context(pool.borrow(host.uri))
        guest = connection.open_console(str(console.vm.uuid))
        stack.callback(guest.close)
        return stack.pop_all(), guest


def is_ours(scope: Message) -> bool:
    """Whether a page of this portal asks, or no page at all (a program, which has its ticket from the API)."""
    origin = dict(scope["headers"]).get(b"origin")
    if origin is None:
        return True
    try:
        given, own = _site(origin.decode("latin-1")), _site(settings.BASE_URL)
    except ValueError:
        return False
    return given[:2] == own[:2] and validate_host(given[2], settings.ALLOWED_HOSTS)


def _site(url: str) -> tuple[str, int | None, str]:
    """Scheme, port and host, as Django writes it: an address of IPv6 in brackets. Raises ValueError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, port, f"[{host}]" if ":" in host else host


async def _ticket(receive: Receive) -> str:
    """The ticket; empty when none comes."""
    try:
        message = await asyncio.wait_for(receive(), TICKET_WAIT_SECONDS)
    except TimeoutError:
        return ""
    text = message.get("text") or ""
    return text if len(text) <= LONGEST_TICKET else ""


def _to_browser(send: Send) -> Send:
    """Speak to the browser. Raises BrowserGone, so that nobody takes another fault for its going."""

    async def speak(message: Message) -> None:
        try:
            await send(message)
        except (OSError, RuntimeError) as error:  # what servers of ASGI raise when the other end is gone
            raise BrowserGone from error

    return speak


async def _bid_farewell(send: Send, why: str, code: int) -> None:
    """Tell that it is over; a browser that does not listen is not waited for. Raises BrowserGone."""
    try:
        async with asyncio.timeout(FAREWELL_SECONDS):
            await _say(send, {"ended": why})
            await send({"type": "websocket.close", "code": code})
    except TimeoutError as error:
        raise BrowserGone from error


async def _say(send: Send, words: dict[str, Any]) -> None:
    await send({"type": "websocket.send", "text": json.dumps(words)})


def _record_refusal(error: Exception) -> None:
    """Write down whom the gateway turned away; of a ticket that never was, there is nobody to tell of."""
    if isinstance(error, NotAllowed | NotVisible):
        user, target, answer = error.user, error.target, error.code
    elif isinstance(error, TicketInvalid) and error.console is not None:
        user, target, answer = error.console.user, error.console.vm, error.code
    else:
        return
    detail = {"action": Action.CONSOLE.value, "answer": answer}
    record_alone(EventAction.ACCESS_REFUSED, target=target, outcome=Outcome.REFUSED, actor=user, detail=detail)
