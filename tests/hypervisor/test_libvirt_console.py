"""A console's stream, played by a test: what is kept, what waits, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import libvirt
import pytest

from hypervisor.errors import ConsoleEnded, OperationTimeout
from hypervisor.libvirt_driver import console as driver
from hypervisor.libvirt_driver.console import KEPT_BYTES, PIECE_BYTES, LibvirtConsole

READABLE, HANGUP = libvirt.VIR_STREAM_EVENT_READABLE, libvirt.VIR_STREAM_EVENT_HANGUP
LATER = -2


class Handle:
    """A connection."""

    alive = True

    def isAlive(self) -> int:
        return int(self.alive)


class Stream:
    """What libvirt would be asked. `written` is what the guest has to say; it takes input while `takes` is set, and
    libvirt waits for it, as its remote driver does.
    """

    def __init__(self, written: bytes = b"") -> None:
        self.written, self.taken = written, b""
        self.takes = threading.Event()
        self.takes.set()
        self.watched, self.gone = 0, threading.Event()
        self.callback: Callable[..., None] = lambda *_: None

    def eventAddCallback(self, events: int, callback: Callable[..., None], opaque: Any) -> None:
        self.watched, self.callback = events, callback

    def eventUpdateCallback(self, events: int) -> None:
        self.watched = events

    def eventRemoveCallback(self) -> None:
        self.watched = 0

    def abort(self) -> None:
        self.gone.set()
        raise libvirt.libvirtError("already gone")

    def recv(self, count: int) -> bytes | int:
        piece, self.written = self.written[:count], self.written[count:]
        return piece or LATER

    def send(self, data: bytes) -> int:
        self.takes.wait(30)
        self.taken += data[:3]
        return len(data[:3])

    def happens(self, events: int) -> None:
        """What the event loop does: it tells of what is watched alone."""
        told = events & (self.watched | HANGUP)
        if told:
            self.callback(self, told, None)


def test_a_guest_that_is_not_listened_to_has_to_wait():
    stream = Stream(b"x" * (KEPT_BYTES * 3))
    console = LibvirtConsole(stream, Handle())
    for _ in range(20):
        stream.happens(READABLE)
    assert KEPT_BYTES <= KEPT_BYTES * 3 - len(stream.written) < KEPT_BYTES + PIECE_BYTES
    assert not stream.watched & READABLE
    seen = b""
    while len(seen) < KEPT_BYTES * 3:
        seen += console.read(1.0)
        stream.happens(READABLE)
    assert seen == b"x" * (KEPT_BYTES * 3)
    assert stream.watched & READABLE
    assert console.read(0.0) == b""


def test_what_is_typed_goes_in_the_pieces_that_are_taken():
    stream = Stream()
    LibvirtConsole(stream, Handle()).write(b"hello, guest")
    assert stream.taken == b"hello, guest"


def test_a_guest_that_takes_nothing_ends_its_console_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver, "WRITE_SECONDS", 0.05)
    stream = Stream(b"still here")
    console = LibvirtConsole(stream, Handle())
    stream.takes.clear()
    with pytest.raises(OperationTimeout):
        console.write(b"hello")
    stream.happens(READABLE)  # the event loop goes on
    with pytest.raises(ConsoleEnded):
        console.write(b"hello")
    console.close()
    assert stream.gone.wait(10)
    stream.takes.set()


def test_a_connection_that_broke_ends_it():
    handle = Handle()
    console = LibvirtConsole(Stream(), handle)
    assert console.read(0.0) == b""
    handle.alive = False
    assert console.read(0.0) == b""
    with pytest.raises(ConsoleEnded, match="connection to the host broke"):
        console.read(0.0)


def test_what_came_before_the_end_is_read_first():
    stream = Stream(b"last words")
    console = LibvirtConsole(stream, Handle())
    stream.happens(READABLE | HANGUP)
    assert console.read(1.0) == b"last words"
    with pytest.raises(ConsoleEnded):
        console.read(1.0)
    with pytest.raises(ConsoleEnded):
        console.write(b"x")


@pytest.mark.parametrize("reads", [False, True])
def test_what_has_ended_is_watched_no_more_and_still_let_go_of(reads: bool):
    stream = Stream(b"last words")
    console = LibvirtConsole(stream, Handle())
    stream.happens(READABLE | HANGUP)
    if reads:
        console.read(1.0)
    assert stream.watched == 0
    assert not stream.gone.is_set()
    console.close()
    assert stream.gone.wait(10)


def test_after_closing_nothing_comes_any_more():
    stream = Stream(b"too late")
    console = LibvirtConsole(stream, Handle())
    console.close()
    console.close()
    assert stream.gone.wait(10)
    stream.callback(stream, READABLE, None)
    with pytest.raises(ConsoleEnded):
        console.read(1.0)
    assert stream.written == b"too late"
