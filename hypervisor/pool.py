"""Open connections, kept for the next caller: opening costs several round trips, and TLS or SSH much more.

A borrowed connection belongs to one caller alone, so that a call which hangs holds up nobody else. Connections never
cross fork(): a process that finds connections of its parent forgets them without touching them.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from hypervisor.connect import connect
from hypervisor.errors import HostUnreachable
from hypervisor.protocol import Hypervisor
from hypervisor.uri import HostURI

MAX_IDLE_PER_HOST = 4

_idle: dict[HostURI, list[Hypervisor]] = defaultdict(list)
_lock = threading.Lock()
_owner = os.getpid()


@contextmanager
def borrow(uri: HostURI) -> Iterator[Hypervisor]:
    """Lend a live connection for the length of the block. Raises HostUnreachable, AccessDenied."""
    connection = _take(uri)
    try:
        yield connection
    except HostUnreachable:
        connection.close()
        raise
    finally:
        _give_back(uri, connection)


def close_idle() -> None:
    """Close every idle connection (at the end of a process)."""
    with _lock:
        connections = [connection for items in _idle.values() for connection in items]
        _idle.clear()
    for connection in connections:
        connection.close()


def _take(uri: HostURI) -> Hypervisor:
    global _owner
    with _lock:
        if os.getpid() != _owner:
            _idle.clear()
            _owner = os.getpid()
        while _idle[uri]:
            connection = _idle[uri].pop()
            if connection.is_alive():
                return connection
            connection.close()
    return connect(uri)


def _give_back(uri: HostURI, connection: Hypervisor) -> None:
    with _lock:
        if connection.is_alive() and len(_idle[uri]) < MAX_IDLE_PER_HOST:
            _idle[uri].append(connection)
            return
    connection.close()
