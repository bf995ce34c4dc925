"""A guest's serial console, as a libvirt stream: what arrives is taken in by the event loop, and read from here."""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import Any

import libvirt

from hypervisor.errors import (
    ConsoleEnded,
    ConsoleTaken,
    GuestStateInvalid,
    HypervisorError,
    NotSupported,
    OperationTimeout,
)
from hypervisor.libvirt_driver.calls import check_wanted, given_up, in_background
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import ErrorTable, is_standing, translated

PIECE_BYTES = 64 * 1024
#: What is kept here for a reader who is slow; what comes then, libvirt's client collects, without a bound of its own.
KEPT_BYTES = 256 * 1024
#: How long a guest may take no input before typing fails, and how much it is given at once.
WRITE_SECONDS = 5.0
SENT_AT_ONCE = 4096
#: libvirt's answer of a stream that would have to wait (`virStreamRecv`).
_LATER = -2

_READABLE = libvirt.VIR_STREAM_EVENT_READABLE
_OVER = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
#: With VIR_DOMAIN_CONSOLE_SAFE, a console that somebody has is an operation that failed (`qemuDomainOpenConsole`).
_ERRORS: ErrorTable = MappingProxyType(
    {
        libvirt.VIR_ERR_OPERATION_FAILED: ConsoleTaken,
        libvirt.VIR_ERR_OPERATION_INVALID: GuestStateInvalid,
        libvirt.VIR_ERR_INTERNAL_ERROR: NotSupported,  # no such device, or one that is no pty
    }
)


class LibvirtConsole:
    """The protocol's `Console`."""

    def __init__(self, stream: libvirt.virStream, handle: libvirt.virConnect) -> None:
        self._stream = stream
        self._handle = handle
        self._changed = threading.Condition()
        self._arrived = bytearray()
        self._ended: str | None = None
        self._is_let_go = False
        self._watched = _READABLE | _OVER
        stream.eventAddCallback(self._watched, self._on_event, None)

    def read(self, seconds: float) -> bytes:
        """What the guest wrote; empty when nothing came in time. Raises ConsoleEnded.

        libvirt tells a stream nothing of a connection that broke, so it is asked here.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._ended is not None, seconds)
            found = bytes(self._arrived[:PIECE_BYTES])
            del self._arrived[:PIECE_BYTES]
            if found:
                self._watch()
            elif self._ended is not None:
                raise ConsoleEnded(self._ended)
        if not found and not is_standing(self._handle):
            self._end("The connection to the host broke.")
        return found

    def write(self, data: bytes) -> None:
        """Type it. Raises ConsoleEnded, OperationTimeout.

        In a thread that may be left behind: sending blocks while the guest takes nothing, whatever was said of the
        stream, and the event loop serves all connections.
        """
        failed: list[HypervisorError] = []

        def send() -> None:
            left = data
            try:
                with translated(lambda: True):
                    while left and self._ended is None:
                        left = left[max(0, self._stream.send(left[:SENT_AT_ONCE])) :]
            except HypervisorError as error:
                failed.append(error)

        if self._ended is None and not in_background(send).wait(WRITE_SECONDS):
            self._end("The guest takes no input at its console.")
            raise OperationTimeout("The guest takes no input at its console.")
        if failed:
            self._end(failed[0].message)
        if self._ended is not None:
            raise ConsoleEnded(self._ended)

    def close(self) -> None:
        """Let go of it. Idempotent; a host that hangs is not waited for."""
        with self._changed:
            self._end("The console was closed.")
            first, self._is_let_go = not self._is_let_go, True
        if first:
            in_background(self._let_go)

    def _on_event(self, stream: libvirt.virStream, events: int, _opaque: Any) -> None:
        """In the event loop's thread: take in what came."""
        with self._changed:
            if self._ended is not None:
                return
            try:
                with translated(lambda: True):
                    if events & _READABLE:
                        self._take_in(stream)
            except HypervisorError as error:
                self._end(error.message)
            if events & _OVER:
                self._end("The host ended the console.")
            self._watch()
            self._changed.notify_all()

    def _take_in(self, stream: libvirt.virStream) -> None:
        while len(self._arrived) < KEPT_BYTES:
            piece = stream.recv(PIECE_BYTES)
            if piece == _LATER:
                return
            if not piece:
                self._end("The guest's console has ended.")
                return
            self._arrived += piece

    def _watch(self) -> None:
        """Be told of what the guest writes while there is room for it; of nothing after the end, of which libvirt would
        tell again and again.
        """
        wanted = 0
        if self._ended is None:
            wanted = _OVER | (_READABLE if len(self._arrived) < KEPT_BYTES else 0)
        if wanted != self._watched and not self._is_let_go:
            self._watched = wanted
            self._stream.eventUpdateCallback(wanted)

    def _end(self, why: str) -> None:
        with self._changed:
            if self._ended is None:
                self._ended = why
                self._changed.notify_all()

    def _let_go(self) -> None:
        for step in (self._stream.eventRemoveCallback, self._stream.abort):
            try:
                with translated(lambda: True):
                    step()
            except HypervisorError:
                continue  # a stream that is broken is over all the same


class Consoles(LibvirtConnection):
    """The protocol's `Consoles`."""

    @remote(table=_ERRORS)
    def open_console(self, uuid: str) -> LibvirtConsole:
        """Open the guest's first serial console, for one at a time."""
        domain = self.domain(uuid)
        stream = self.handle.newStream(libvirt.VIR_STREAM_NONBLOCK)
        domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_SAFE)
        console = LibvirtConsole(stream, self.handle)
        if given_up():  # nobody waits for it any more, and nobody would let go of it
            console.close()
            check_wanted()
        return console
