"""A browser's WebSocket to the gateway, in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from console.gateway import Gateway

PATIENCE = 30.0


class Browser:
    """One WebSocket. What the gateway sent is kept in order."""

    def __init__(self, gateway: Gateway, *, origin: str | None = settings.BASE_URL) -> None:
        headers = [(b"origin", origin.encode())] if origin is not None else []
        scope = {"type": "websocket", "path": "/", "headers": headers, "client": ("192.0.2.9", 4711)}
        self._to_gateway: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._arrived = asyncio.Condition()
        self.sent: list[dict[str, Any]] = []
        self._to_gateway.put_nowait({"type": "websocket.connect"})
        self._served = asyncio.create_task(gateway(scope, self._to_gateway.get, self._take))

    async def _take(self, message: Any) -> None:
        async with self._arrived:
            self.sent.append(message)
            self._arrived.notify_all()

    def say(self, text: str) -> None:
        self._to_gateway.put_nowait({"type": "websocket.receive", "text": text})

    def type(self, data: bytes) -> None:
        self._to_gateway.put_nowait({"type": "websocket.receive", "bytes": data})

    def leave(self) -> None:
        self._to_gateway.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def until(self, met: Callable[[Browser], Any]) -> Any:
        """Wait until something is so; what it is."""
        async with asyncio.timeout(PATIENCE), self._arrived:
            await self._arrived.wait_for(lambda: met(self))
        return met(self)

    async def gone(self) -> None:
        """Until the gateway is done with it."""
        async with asyncio.timeout(PATIENCE):
            await self._served

    def shown(self) -> bytes:
        """What the guest wrote."""
        return b"".join(message["bytes"] for message in self.sent if message.get("bytes"))

    def opened(self) -> bool:
        return any("opened" in words for words in self._words())

    def ended(self) -> str:
        """Why, once it has."""
        return next((words["ended"] for words in self._words() if "ended" in words), "")

    def code(self) -> int | None:
        """What it was closed with, once it was."""
        return next((message["code"] for message in self.sent if message["type"] == "websocket.close"), None)

    def _words(self) -> list[dict[str, Any]]:
        return [json.loads(message["text"]) for message in self.sent if message.get("text")]


def served(scene: Callable[[Gateway], Awaitable[None]]) -> None:
    """Play a scene with a gateway."""
    asyncio.run(scene(Gateway()))  # type: ignore[arg-type]


async def live(own: Gateway) -> str:
    """From start to stop; what it answers to the start."""
    said: asyncio.Queue[Any] = asyncio.Queue()
    asked: asyncio.Queue[Any] = asyncio.Queue()
    for step in ("startup", "shutdown"):
        asked.put_nowait({"type": f"lifespan.{step}"})
    await own({"type": "lifespan"}, asked.get, said.put)
    return str(said.get_nowait()["type"])
