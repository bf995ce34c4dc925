"""Carrying one open console between a browser and a guest, until one of the two ends or it may not go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.db import Error as DatabaseError

from console import services
from console.models import Console
from hypervisor.errors import HypervisorError
from hypervisor.protocol import Console as GuestConsole

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: Runs a blocking function in a thread.
InThread = Callable[..., Awaitable[Any]]

#: How often rights and the sign-in are asked about again.
ASK_AGAIN_SECONDS = 5.0
#: A console at which nobody types for so long is ended: somebody may have left it open.
IDLE_SECONDS = 15 * 60.0
#: How long a look for what the guest wrote waits.
READ_SECONDS = 1.0
#: How long a browser may take nothing in. Meanwhile libvirt's client collects what the guest writes, without a bound.
UNREAD_SECONDS = 10.0
#: What the server closes its WebSockets with when it is stopped (RFC 6455, registry of close codes).
SERVICE_RESTART = 1012
#: The most that one message from a browser may bring: a pasted page, not a file.
MESSAGE_BYTES = 64 * 1024


class Carrying:
    """One console. `typed` and `shown` count bytes."""

    def __init__(
        self,
        console: Console,
        guest: GuestConsole,
        receive: Receive,
        send: Send,
        ask_guest: InThread,
        ask_database: InThread,
    ) -> None:
        self.typed = self.shown = 0
        self._console = console
        self._guest = guest
        self._receive = receive
        self._send = send
        self._ask_guest = ask_guest
        self._ask_database = ask_database
        self._last_typed = time.monotonic()

    async def run(self) -> str:
        """Until it ends; returns why, in a sentence."""
        parts = [asyncio.create_task(part()) for part in (self._show, self._type, self._ask_again)]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _show(self) -> str:
        """What the guest writes goes to the browser; while that takes its time, the guest has to wait."""
        while True:
            try:
                written = await self._ask_guest(self._guest.read, READ_SECONDS)
            except HypervisorError as error:
                return error.message
            if written:
                try:
                    async with asyncio.timeout(UNREAD_SECONDS):
                        await self._send({"type": "websocket.send", "bytes": written})
                except TimeoutError:
                    return f"The browser took nothing in for {UNREAD_SECONDS:.0f} seconds."
                self.shown += len(written)

    async def _type(self) -> str:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                stopped = message.get("code") == SERVICE_RESTART
                return "The gateway was stopped." if stopped else "The browser closed it."
            data = message.get("bytes")
            if not data or len(data) > MESSAGE_BYTES:
                return "The browser sent what is no input."
            self._last_typed = time.monotonic()
            try:
                await self._ask_guest(self._guest.write, bytes(data))
            except HypervisorError as error:
                return error.message
            self.typed += len(data)

    async def _ask_again(self) -> str:
        while True:
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            if time.monotonic() - self._last_typed > IDLE_SECONDS:
                return f"Nothing was typed for {IDLE_SECONDS / 60:.0f} minutes."
            try:
                reason: str = await self._ask_database(services.reason_to_end, self._console)
            except DatabaseError:
                return "Whether it may go on could not be asked."
            if reason:
                return reason
