"""The console gateway: takes a ticket from a browser's WebSocket, opens the guest's console, and carries it.

A browser sends the ticket as its first message, as text. From then on its messages are what is typed, and the
gateway's are what the guest writes, as bytes; as text the gateway says `{"opened": {...}}` and `{"ended": "why"}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import close_old_connections

from access.actions import Action
from access.errors import NotAllowed, NotVisible
from audit.context import acting_as
from audit.events import EventAction, Outcome
from audit.record import record_alone
from console import services
from console.carrying import Carrying
from console.errors import BrowserGone, ConsoleError, TicketInvalid
from console.models import Console
from hypervisor import pool
from hypervisor.errors import HypervisorError
from hypervisor.protocol import Console as GuestConsole

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Consoles that are open at a time. Each takes two threads nearly always, and a third now and then.
OPEN_AT_A_TIME = 20
#: Browsers that have shown no ticket yet, at a time, and how long each is waited for.
WAITING_AT_A_TIME = 100
TICKET_WAIT_SECONDS = 10.0
#: How long a browser may take to hear that it is over.
FAREWELL_SECONDS = 5.0
LONGEST_TICKET = 200
#: RFC 6455: gone away normally; broke the rules; try again later.
NORMAL, POLICY, LATER = 1000, 1008, 1013


class Gateway:
    """The ASGI application."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(OPEN_AT_A_TIME * 4, thread_name_prefix="console")
        self._open = self._waiting = 0

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
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                left = await self._in_thread(services.consoles_abandoned)
                if left:
                    log.warning("%d consoles had been left open.", left)
                await send({"type": "lifespan.startup.complete"})
            else:
                await send({"type": "lifespan.shutdown.complete"})
                return

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
                console: Console = await self._in_thread(services.console_open, ticket=ticket)
            except (ConsoleError, NotAllowed, NotVisible) as error:
                await self._in_thread(_record_refusal, error)
                return str(error), POLICY
        with acting_as(console.user, via="web", source_address=address):
            return await self._carry(console, receive, send), NORMAL

    async def _carry(self, console: Console, receive: Receive, send: Send) -> str:
        """Open the guest's console, carry it, and write down its end, whatever happens."""
        why, outcome, carrying = "The gateway failed.", Outcome.FAILED, None
        try:
            stack, guest = await self._in_thread(_open, console)
            try:
                carrying = Carrying(console, guest, receive, send, self._in_thread)
                await _say(send, {"opened": {"vm": console.vm.name}})
                why, outcome = await carrying.run(), Outcome.OK
            finally:
                await asyncio.shield(self._in_thread(stack.close))
        except HypervisorError as error:
            why = error.message
        except BrowserGone:
            why, outcome = "The browser closed it.", Outcome.OK
        finally:
            moved = {} if carrying is None else {"typed": carrying.typed, "shown": carrying.shown}
            ending = self._in_thread(services.console_end, console, why=why, outcome=outcome, **moved)
            await asyncio.shield(ending)  # also when the gateway is being stopped
        return why

    async def _in_thread(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run what blocks in a thread, with the context of now, and with a database connection that is fresh."""

        def run() -> Any:
            close_old_connections()
            try:
                return function(*args, **kwargs)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, run)


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
    return given[:2] == own[:2] and given[2] in settings.ALLOWED_HOSTS


def _site(url: str) -> tuple[str, int | None, str | None]:
    """Scheme, port and host. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.port or {"http": 80, "https": 443}.get(parts.scheme), parts.hostname


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
