"""libvirt handles (`virConnect`): opened with keepalive, used by one thread at a time, let go in peace.

A handle may be shared by threads, but not well: while one thread waits for an answer, libvirt's client (seen with
9.0) now and then misses that another one has something to send, and the other stands still until the next keepalive,
5 s. So each call has a handle of its own, from a pool: what blocks in one call delays no other, and libvirtd's limit
of 5 requests per client (`max_client_requests`) is out of the way.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from urllib.parse import quote

import libvirt

from hypervisor.errors import HostUnreachable, HypervisorError, NotSupported
from hypervisor.libvirt_driver.errors import is_standing, translated
from hypervisor.libvirt_driver.loop import ensure_event_loop

#: A silent host is given up after interval x (count + 1) = 20 s (libvirt: `virConnectSetKeepAlive`).
KEEPALIVE_INTERVAL_SECONDS = 5
KEEPALIVE_COUNT = 3
#: Handles kept open for the next call, beside the first.
KEPT_HANDLES = 2


def open_handle(uri: str, on_lost: Callable[[int], None] | None = None) -> libvirt.virConnect:
    """Open a handle, with keepalive; `on_lost(reason)` is called from the event loop's thread when it breaks.

    Raises HostUnreachable, AccessDenied, or NotSupported in a forked process (see `loop`). Blocks as long as the
    network does.
    """
    ensure_event_loop()
    with translated(lambda: True, otherwise=HostUnreachable):
        handle = libvirt.open(address_with_options(uri))
    try:
        with translated(lambda: True, otherwise=HostUnreachable):
            if on_lost is not None:
                handle.registerCloseCallback(lambda _handle, reason, _opaque: on_lost(reason), None)
            handle.setKeepAlive(KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_COUNT)
    except NotSupported:
        pass  # a driver inside our own process (test:///default) has no wire to watch
    except HypervisorError:
        farewell(handle)
        raise
    return handle


def address_with_options(uri: str) -> str:
    """A host's URI with what this process adds to it: how ssh behaves, and where our own certificate is."""
    if uri.startswith("qemu+ssh:"):
        return f"{uri}?no_tty=1"  # a service has nobody to type a password: ssh shall fail instead of asking
    certificates = os.environ.get("SLIPWAY_PKI_DIR", "")
    if uri.startswith("qemu+tls:") and certificates:
        return f"{uri}?pkipath={quote(certificates, safe='/')}"
    return uri


def farewell(handle: libvirt.virConnect) -> None:
    """Let go of a handle; a host that is gone already is not asked twice."""
    if handle._o is None:
        return  # disowned
    for step in (handle.unregisterCloseCallback, handle.close):
        try:
            with translated(lambda: True):
                step()
        except HypervisorError:
            continue  # closing what is broken: there is nobody to tell


class HandlePool:
    """The handles of one connection. The first one stands for all: when it breaks, the connection is broken."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._closed = False
        self._first = open_handle(uri)
        self._idle = [self._first]
        self._handles = {self._first}

    def is_standing(self) -> bool:
        """Whether the connection stands, without a round trip."""
        return not self._closed and is_standing(self._first)

    def borrow(self) -> libvirt.virConnect:
        """A handle for the caller alone, a new one if need be. Raises HostUnreachable."""
        if not self.is_standing():
            raise HostUnreachable("The connection to the host is closed or lost.")
        with self._lock:
            if self._idle:
                return self._idle.pop()
        handle = open_handle(self._uri)
        with self._lock:
            self._handles.add(handle)
        return handle

    def give_back(self, handle: libvirt.virConnect) -> None:
        """End a loan."""
        with self._lock:
            if not self._closed and (handle is self._first or self._may_keep(handle)):
                self._idle.append(handle)
                return
            self._handles.discard(handle)
        farewell(handle)

    def close(self) -> None:
        """Let go of the idle handles, now, and of the others when they come back. May block as the host does."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._handles.difference_update(idle)
        for handle in idle:
            farewell(handle)

    def disown(self) -> None:
        """In a forked child: forget the handles without saying good-bye on the parent's sockets."""
        self._closed = True
        for handle in self._handles:
            handle._o = None

    def _may_keep(self, handle: libvirt.virConnect) -> bool:
        return len(self._idle) <= KEPT_HANDLES and is_standing(handle)
