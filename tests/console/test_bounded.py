"""A browser that floods the gateway's server, over a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from console.bounded import BoundedWebSockets
from console.carrying import Receive, Send

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
#: The longest there is, masked with zeros (RFC 6455, section 5.2).
PING = b"\x89\xfd\0\0\0\0" + b"x" * 125
PONG = b"\x8a\x7d" + b"x" * 125
#: More than the bound and the buffers of both ends of a socket hold.
FLOOD_BYTES = 64 * 1024 * 1024


async def patient(_scope: object, receive: Receive, send: Send) -> None:
    """Accepts, and waits until the browser is gone."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@pytest.fixture
def browser() -> Iterator[socket.socket]:
    """Behind its handshake with a server that runs in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            patient, ws=BoundedWebSockets, lifespan="off", log_level="critical", ws_ping_interval=None
        )
        server = uvicorn.Server(config)
        serving = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        serving.start()
        try:
            with socket.create_connection(listening.getsockname(), timeout=60) as client:
                client.sendall(HANDSHAKE)
                said = b""
                while not said.endswith(b"\r\n\r\n"):
                    said += client.recv(1)
                assert b" 101 " in said
                yield client
        finally:
            server.should_exit = True
            serving.join()


def test_pings_that_are_read_are_answered(browser: socket.socket) -> None:
    for _ in range(1000):
        browser.sendall(PING)
        answer = b""
        while len(answer) < len(PONG):
            answer += browser.recv(len(PONG) - len(answer))
        assert answer == PONG


def test_who_pings_and_reads_nothing_is_cut_off(browser: socket.socket) -> None:
    with pytest.raises(ConnectionError):
        browser.sendall(PING * (FLOOD_BYTES // len(PING)))
