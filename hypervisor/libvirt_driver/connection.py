"""One connection to one host: opened with keepalive, called with a budget, closed even if the host hangs."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Concatenate, ParamSpec, TypeVar

import libvirt

from hypervisor.errors import GuestNotFound, HostUnreachable, HypervisorError, NotSupported
from hypervisor.libvirt_driver.calls import Calls, in_background
from hypervisor.libvirt_driver.errors import ErrorTable, is_standing, translated
from hypervisor.libvirt_driver.loop import ensure_event_loop

P = ParamSpec("P")
T = TypeVar("T")
Connected = TypeVar("Connected", bound="LibvirtConnection")

#: A silent host is given up after interval x (count + 1) = 20 s (libvirt: `virConnectSetKeepAlive`).
KEEPALIVE_INTERVAL_SECONDS = 5
KEEPALIVE_COUNT = 3
#: Opening: longer than a slow ssh handshake, shorter than the kernel's own patience with a dead address (2 min).
OPEN_SECONDS = 25.0
#: An ordinary call: longer than keepalive (20 s) and than libvirt's wait for a guest's job lock (30 s), since both
#: give a better reason than our own clock does.
CALL_SECONDS = 45.0
#: How long `close()` waits for the farewell to a host that may hang; it goes on in the background.
CLOSE_SECONDS = 2.0

_CLOSE_REASONS = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "the connection failed",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "the host ended the connection",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "the host did not answer keepalive",
}


def remote(
    *,
    seconds: float | None = CALL_SECONDS,
    otherwise: type[HypervisorError] = HypervisorError,
    table: ErrorTable = MappingProxyType({}),
) -> Callable[[Callable[Concatenate[Connected, P], T]], Callable[Concatenate[Connected, P], T]]:
    """Make a method a call to the host: with a budget, given up when the connection closes, errors translated.

    `table` and `otherwise` as in `errors.translated`.
    """

    def decorate(method: Callable[Concatenate[Connected, P], T]) -> Callable[Concatenate[Connected, P], T]:
        @functools.wraps(method)
        def call(self: Connected, /, *args: P.args, **kwargs: P.kwargs) -> T:
            def run() -> T:
                with translated(self.is_alive, otherwise=otherwise, table=table):
                    return method(self, *args, **kwargs)

            return self.call(run, seconds=seconds)

        return call

    return decorate


class LibvirtConnection:
    """The connection's own part of the protocol, and what the other parts stand on."""

    def __init__(self, uri: str) -> None:
        """Open. Raises HostUnreachable, AccessDenied, or NotSupported in a forked process (see `loop`)."""
        self.uri = uri
        self._pid = os.getpid()
        self._calls = Calls()
        self._lock = threading.Lock()
        self._closed = False
        self._farewell_said = threading.Event()
        self._lost: str | None = None
        self._close_listeners: list[Callable[[str], None]] = []
        self._last_steps: list[Callable[[], None]] = []
        self._library_version: tuple[int, int, int] | None = None
        ensure_event_loop()
        self.handle = self._calls.run(
            lambda: _open(uri, weakref.WeakMethod(self._on_lost)), seconds=OPEN_SECONDS, discard=_farewell
        )
        self._finalizer = weakref.finalize(self, _close_later, self.handle, self._calls, self._last_steps)
        _open_connections.add(self)

    def is_alive(self) -> bool:
        """Whether the connection still stands (no round trip)."""
        return not self._closed and self._pid == os.getpid() and is_standing(self.handle)

    def close(self) -> None:
        """Close it; blocked calls in other threads fail with HostUnreachable. Idempotent."""
        self.begin_close().wait(CLOSE_SECONDS)

    def begin_close(self) -> threading.Event:
        """Close, without waiting for the farewell: the event is set after it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close_listeners.clear()
                self._calls.end("The connection was closed.")
                self._finalizer.detach()
                self._farewell_said = _close_later(self.handle, self._calls, self._last_steps)
        return self._farewell_said

    def call(
        self, function: Callable[[], T], *, seconds: float | None, discard: Callable[[T], object] | None = None
    ) -> T:
        """Run `function`, which may block in libvirt; see `calls.Calls.run`."""
        if self._pid != os.getpid():
            raise HostUnreachable("This connection belongs to another process; open one here.")
        return self._calls.run(function, seconds=seconds, discard=discard)

    def domain(self, uuid: str) -> libvirt.virDomain:
        """libvirt's handle of a guest (one round trip). Raises GuestNotFound."""
        with translated(self.is_alive, table={libvirt.VIR_ERR_INVALID_ARG: GuestNotFound}):
            return self.handle.lookupByUUIDString(uuid)

    def library_version(self) -> tuple[int, int, int]:
        """The version of libvirt on the host (asked once)."""
        if self._library_version is None:
            self._library_version = version_triple(self.handle.getLibVersion())
        return self._library_version

    def listen_for_close(self, listener: Callable[[str], None]) -> None:
        """Have `listener(reason)` called once, from the event loop's thread, when the connection breaks.

        At once, from this thread, if it has broken already. Not when it is closed by us.
        """
        with self._lock:
            lost = self._lost
            if lost is None:
                self._close_listeners.append(listener)
        if lost is not None:
            listener(lost)

    def unlisten_for_close(self, listener: Callable[[str], None]) -> None:
        """Take a listener off again."""
        with self._lock:
            if listener in self._close_listeners:
                self._close_listeners.remove(listener)

    def _on_lost(self, reason: int) -> None:
        if reason == libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT:
            return
        with self._lock:
            self._lost = _CLOSE_REASONS.get(reason, "the connection broke")
            listeners, self._close_listeners = self._close_listeners, []
        for listener in listeners:
            listener(self._lost)

    def before_close(self, step: Callable[[], None]) -> None:
        """Have `step` run when the connection is closed by us, before the handle is let go; it may block."""
        self._last_steps.append(step)

    def not_before_close(self, step: Callable[[], None]) -> None:
        """Take such a step off again."""
        if step in self._last_steps:
            self._last_steps.remove(step)

    def disown(self) -> None:
        """In a forked child: forget the handle without saying good-bye on the parent's socket."""
        self.handle._o = None
        self._closed = True
        self._farewell_said = threading.Event()
        self._farewell_said.set()


def version_triple(number: int) -> tuple[int, int, int]:
    """libvirt's version number, 1,000,000 x major + 1,000 x minor + micro, as a triple."""
    return number // 1_000_000, number // 1_000 % 1_000, number % 1_000


def _open(uri: str, on_lost: weakref.WeakMethod[Callable[[int], None]]) -> libvirt.virConnect:
    def lost(_handle: libvirt.virConnect, reason: int, _opaque: None) -> None:
        listener = on_lost()
        if listener is not None:
            listener(reason)

    with translated(lambda: True, otherwise=HostUnreachable):
        handle = libvirt.open(uri)
    try:
        with translated(lambda: True, otherwise=HostUnreachable):
            handle.registerCloseCallback(lost, None)
            handle.setKeepAlive(KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_COUNT)
    except NotSupported:
        pass  # a driver inside our own process (test:///default) has no wire to watch
    except HypervisorError:
        _farewell(handle)
        raise
    return handle


def _farewell(handle: libvirt.virConnect, last_steps: Sequence[Callable[[], None]] = ()) -> None:
    """Let go of a handle; a host that is gone already is not asked twice."""
    for step in (*last_steps, handle.unregisterCloseCallback, handle.close):
        try:
            with translated(lambda: True):
                step()
        except HypervisorError:
            continue  # closing what is broken: there is nobody to tell


def _close_later(handle: libvirt.virConnect, calls: Calls, last_steps: Sequence[Callable[[], None]]) -> threading.Event:
    def close() -> None:
        # libvirt frees the connection with its last reference; a thread that is about to use it must not meet that.
        calls.drain()
        if handle._o is not None:
            _farewell(handle, last_steps)

    return in_background(close)


_open_connections: weakref.WeakSet[LibvirtConnection] = weakref.WeakSet()


def _disown_all() -> None:
    for connection in list(_open_connections):
        connection.disown()


os.register_at_fork(after_in_child=_disown_all)
