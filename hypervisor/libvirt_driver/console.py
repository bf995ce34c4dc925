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
from hypervisor.libvirt_driver.calls import in_background
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import ErrorTable, translated

PIECE_BYTES = 64 * 1024
#: What is kept for a reader who is slow; then the guest has to wait.
KEPT_BYTES = 256 * 1024
#: How long a guest may take no input before typing fails.
WRITE_SECONDS = 5.0
#: libvirt's answer of a stream that would have to wait (`virStreamRecv`, `virStreamSend`).
_LATER = -2

_READABLE, _WRITABLE = libvirt.VIR_STREAM_EVENT_READABLE, libvirt.VIR_STREAM_EVENT_WRITABLE
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

    def __init__(self, stream: libvirt.virStream) -> None:
        self._stream = stream
        self._changed = threading.Condition()
        self._arrived = bytearray()
        self._typed = bytearray()
        self._ended: str | None = None
        self._is_let_go = False
        self._watched = _READABLE | _OVER
        stream.eventAddCallback(self._watched, self._on_event, None)

    def read(self, seconds: float) -> bytes:
        """What the guest wrote; empty when nothing came in time. Raises ConsoleEnded."""
        with self._changed:
            self._changed.wait_for(lambda: self._arrived or self._ended is not None, seconds)
            found = bytes(self._arrived[:PIECE_BYTES])
            del self._arrived[:PIECE_BYTES]
            if found:
                self._watch()
            elif self._ended is not None:
                raise ConsoleEnded(self._ended)
        return found

    def write(self, data: bytes) -> None:
        """Type it. Raises ConsoleEnded, OperationTimeout."""
        with self._changed:
            self._typed += data
            self._watch()
            if not self._changed.wait_for(lambda: not self._typed or self._ended is not None, WRITE_SECONDS):
                self._typed.clear()
                raise OperationTimeout("The guest takes no input at its console.")
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
        """In the event loop's thread: take in what came, send what was typed."""
        with self._changed:
            if self._ended is not None:
                return
            try:
                with translated(lambda: True):
                    if events & _READABLE:
                        self._take_in(stream)
                    if events & _WRITABLE and self._typed:
                        sent = stream.send(bytes(self._typed[:PIECE_BYTES]))
                        del self._typed[: max(0, sent)]
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
        """Be told of what matters now: input while there is room for it, room for output while some waits; of nothing
        after the end, of which libvirt would tell again and again.
        """
        wanted = 0
        if self._ended is None:
            wanted |= _OVER
            wanted |= _READABLE if len(self._arrived) < KEPT_BYTES else 0
            wanted |= _WRITABLE if self._typed else 0
        if wanted != self._watched and not self._is_let_go:
            self._watched = wanted
            self._stream.eventUpdateCallback(wanted)

    def _end(self, why: str) -> None:
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
        return LibvirtConsole(stream)
