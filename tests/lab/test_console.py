"""The console of a real guest, through the gateway as a process of its own."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket as probe
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from access.gate import SYSTEM
from access.services.grants import grant_revoke
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from portal import processes
from tests.console.conftest import Person, operator_of
from tests.stack import free_port, until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

#: Longer than an emulated guest takes for an answer.
PATIENCE = 120.0


@pytest.fixture
def gateway(site: Any, settings: Any) -> str:
    """Its address."""
    settings.CONSOLE_URL = f"ws://127.0.0.1:{free_port()}"
    start(site)
    return str(settings.CONSOLE_URL)


def start(site: Any) -> None:
    """Start it; whoever asks waits until it answers."""
    site.stack.start(processes.console())


def listens(address: str) -> bool:
    """Whether somebody does."""
    parts = urlsplit(address)
    with probe() as found:
        return found.connect_ex((parts.hostname, parts.port)) == 0


@contextmanager
def at_console(address: str, person: Person, vm: Any) -> Iterator[ClientConnection]:
    """The console, open."""

    until(lambda: listens(address), what="the gateway")
    with connect(address, open_timeout=PATIENCE) as socket:
        socket.send(person.ask(vm)[1])
        first = json.loads(socket.recv(PATIENCE))
        assert "opened" in first, first
        yield socket


def read_until(socket: ClientConnection, wanted: bytes) -> None:
    """Read on until the guest has written it. An Enter now and then wakes one that is slow to ask."""
    seen = b""
    deadline = time.monotonic() + PATIENCE  # in time, not in pieces: a guest that writes without end sends many
    while time.monotonic() < deadline:
        try:
            piece = socket.recv(1.0)
        except TimeoutError:
            socket.send(b"\r")
            continue
        assert isinstance(piece, bytes), piece
        seen = seen[-500:] + piece
        if wanted in seen:
            return
    raise AssertionError(f"{wanted!r} did not come, but {seen!r}")


def last_words(socket: ClientConnection) -> str:
    """Why the gateway says that it ended."""
    words = ""
    try:
        while True:
            message = socket.recv(PATIENCE)
            words = json.loads(message)["ended"] if isinstance(message, str) else words
    except ConnectionClosed:
        return str(words)


def test_a_shell_on_a_real_guest_until_the_right_is_withdrawn(site: Any, debian: str, gateway: str) -> None:
    vm = site.ready(debian)
    person = operator_of(vm)
    with at_console(gateway, person, vm) as socket:
        read_until(socket, b"# ")
        socket.send(b"echo 4$?2; uname -s\r")
        read_until(socket, b"402")
        grant_revoke(actor=SYSTEM, grant=person.grant)
        assert last_words(socket) == "Your right to this console has ended."
    ended = AuditEvent.objects.get(action=EventAction.CONSOLE_ENDED)
    assert ended.object_uuid == str(vm.uuid)
    assert ended.detail["bytes_typed"] >= len(b"echo 4$?2; uname -s\r")
    site.record_is_whole()


def test_a_guest_that_writes_without_end_holds_nothing_up(site: Any, debian: str, gateway: str) -> None:
    vm = site.ready(debian)
    with at_console(gateway, operator_of(vm), vm) as socket:
        read_until(socket, b"# ")
        socket.send(b"yes 'much ado'\r")
        read_until(socket, b"much ado\r\nmuch ado")
        socket.send(b"\x03")
        socket.send(b"echo 4$?2\r")  # 130: by the interrupt
        read_until(socket, b"41302")


def test_a_gateway_that_was_killed_lets_go_and_tells(site: Any, debian: str, gateway: str) -> None:
    vm = site.ready(debian)
    person = operator_of(vm)
    with at_console(gateway, person, vm) as socket:
        site.stack.kill("console", signal.SIGKILL)
        assert last_words(socket) == ""
    start(site)
    with at_console(gateway, person, vm) as socket:
        read_until(socket, b"# ")
    left = AuditEvent.objects.filter(action=EventAction.CONSOLE_ENDED, outcome=Outcome.UNKNOWN)
    assert [event.actor_name for event in left] == [person.user.username]


def test_with_a_move_to_another_host_it_ends(site: Any, gateway: str) -> None:
    site.lab.reset_guest("small")
    vm = site.ready("small")
    with at_console(gateway, operator_of(vm), vm) as socket:
        job = site.do("vm.migrate", vm)
        assert job.state == "succeeded", job.error_message
        assert last_words(socket) == "The guest's console has ended."
