"""One connection to one host: calls with a budget, each on a handle of its own, and a close that never hangs."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from types import MappingProxyType
from typing import Concatenate, ParamSpec, TypeVar

import libvirt

from hypervisor.errors import GuestNotFound, HostUnreachable, HypervisorError, OperationTimeout
from hypervisor.libvirt_driver.calls import Calls, in_background
from hypervisor.libvirt_driver.errors import ErrorTable, is_standing, translated
from hypervisor.libvirt_driver.handles import HandlePool

P = ParamSpec("P")
T = TypeVar("T")
Connected = TypeVar("Connected", bound="LibvirtConnection")

#: Opening: longer than a slow ssh handshake, shorter than the kernel's own patience with a dead address (2 min).
OPEN_SECONDS = 25.0
#: An ordinary call: longer than keepalive (20 s) and than libvirt's wait for a guest's job lock (30 s), since both
#: give a better reason than our own clock does.
CALL_SECONDS = 45.0
#: How long `close()` waits for the farewell to a host that may hang; it goes on in the background.
CLOSE_SECONDS = 2.0


def remote(
    *,
    seconds: float | None = CALL_SECONDS,
    otherwise: type[HypervisorError] = HypervisorError,
    table: ErrorTable = MappingProxyType({}),
) -> Callable[[Callable[Concatenate[Connected, P], T]], Callable[Concatenate[Connected, P], T]]:
    """Make a method a call to the host: with a budget, given up when the connection closes, errors translated.

    `table` and `otherwise` as in `errors.translated`. Inside, `self.handle` is the call's own.
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


class _Loan(threading.local):
    """What the call that runs in this thread has of its connection."""

    handle: libvirt.virConnect | None = None

    def __init__(self) -> None:
        self.domains: dict[str, libvirt.virDomain] = {}


class LibvirtConnection:
    """The connection's own part of the protocol, and what the other parts stand on."""

    def __init__(self, uri: str) -> None:
        """Open. Raises HostUnreachable, AccessDenied, or NotSupported in a forked process (see `loop`)."""
        self.uri = uri
        self._pid = os.getpid()
        self._calls = Calls()
        self._lock = threading.Lock()
        self._loan = _Loan()
        self._farewell: threading.Event | None = None
        self._library_version: tuple[int, int, int] | None = None
        try:
            self._pool = self._calls.run(lambda: HandlePool(uri), seconds=OPEN_SECONDS, discard=HandlePool.close)
        except OperationTimeout as error:
            raise HostUnreachable(error.message) from error
        self._finalizer = weakref.finalize(self, in_background, self._pool.close)
        self._finalizer.atexit = False  # type: ignore[misc]  # typeshed has it in no slot
        _open_connections.add(self)

    @property
    def handle(self) -> libvirt.virConnect:
        """libvirt's handle for the call that runs in this thread; see `remote`."""
        return self._loan.handle

    def is_alive(self) -> bool:
        """Whether the connection still stands (no round trip)."""
        lent = self._loan.handle
        return self._pid == os.getpid() and self._pool.is_standing() and (lent is None or is_standing(lent))

    def close(self) -> None:
        """Close it; blocked calls in other threads fail with HostUnreachable. Idempotent."""
        with self._lock:
            if self._farewell is None:
                self._calls.end("The connection was closed.")
                self._finalizer.detach()
                self._farewell = in_background(self._pool.close)
        self._farewell.wait(CLOSE_SECONDS)

    def call(self, function: Callable[[], T], *, seconds: float | None) -> T:
        """Run `function`, which may block in libvirt, with a handle of its own; see `calls.Calls.run`."""
        if self._pid != os.getpid():
            raise HostUnreachable("This connection belongs to another process; open one here.")

        def run() -> T:
            if self._loan.handle is not None:
                return function()  # a call within a call
            self._loan.handle = handle = self._pool.borrow()
            try:
                return function()
            finally:
                self._loan.handle = None
                self._loan.domains.clear()
                self._pool.give_back(handle)

        return self._calls.run(run, seconds=seconds)

    def together(self, work: Callable[[], T], *, seconds: float | None = CALL_SECONDS) -> T:
        """Make the calls in `work` as one: one wait and one budget for all, one handle, each guest looked up once."""
        return self.call(work, seconds=seconds)

    def domain(self, uuid: str) -> libvirt.virDomain:
        """libvirt's handle of a guest; the first time in a call one round trip. Raises GuestNotFound."""
        known = self._loan.domains
        if uuid not in known:
            with translated(self.is_alive, table={libvirt.VIR_ERR_INVALID_ARG: GuestNotFound}):
                known[uuid] = self.handle.lookupByUUIDString(uuid)
        return known[uuid]

    def library_version(self) -> tuple[int, int, int]:
        """The version of libvirt on the host (asked once)."""
        if self._library_version is None:
            self._library_version = version_triple(self.handle.getLibVersion())
        return self._library_version

    def disown(self) -> None:
        """In a forked child: forget the handles without saying good-bye on the parent's sockets."""
        self._pool.disown()
        self._finalizer.detach()
        self._lock = threading.Lock()
        self._farewell = threading.Event()
        self._farewell.set()


def version_triple(number: int) -> tuple[int, int, int]:
    """libvirt's version number, 1,000,000 x major + 1,000 x minor + micro, as a triple."""
    return number // 1_000_000, number // 1_000 % 1_000, number % 1_000


_open_connections: weakref.WeakSet[LibvirtConnection] = weakref.WeakSet()


def _disown_all() -> None:
    for connection in list(_open_connections):
        connection.disown()


os.register_at_fork(after_in_child=_disown_all)
