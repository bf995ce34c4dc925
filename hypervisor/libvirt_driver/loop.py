"""libvirt's event loop: one thread for the whole process, started before the first connection is opened.

Keepalive, close callbacks and events work only while somebody runs the loop, and only for connections opened
after its registration (libvirt: `virEventRegisterDefaultImpl`). Neither the loop nor a connection survives
`fork()`: both sides of the fork would read the same sockets, and both would break.
"""

from __future__ import annotations

import logging
import os
import threading
import time

import libvirt

from hypervisor.errors import HypervisorError, NotSupported
from hypervisor.libvirt_driver.errors import translated

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_loop_pid: int | None = None


def ensure_event_loop() -> None:
    """Register and start the event loop, once in a process.

    Raises NotSupported in a process forked from one that had started its loop: there the loop cannot be had
    again. Start workers before the first connection, or spawn them.
    """
    global _loop_pid
    with _lock:
        if _loop_pid == os.getpid():
            return
        if _loop_pid is not None:
            raise NotSupported(
                "This process was forked from one that already spoke to hypervisors; it cannot open connections of "
                "its own. Fork before the first connection, or start the process afresh."
            )
        # libvirt prints each error on stderr unless told where to put it; ours are raised, and logged by who acts.
        libvirt.registerErrorHandler(_ignore, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_run, name="libvirt-events", daemon=True).start()
        _loop_pid = os.getpid()


def _run() -> None:
    while True:
        try:
            with translated(lambda: True):
                libvirt.virEventRunDefaultImpl()
        except HypervisorError:
            logger.exception("The libvirt event loop failed; it goes on")
            time.sleep(1)  # a loop that fails at once must not eat a core


def _ignore(_context: object, _error: object) -> None:
    """Take libvirt's own report of an error, which is also raised."""


def _renew_lock() -> None:
    """In a forked child: the lock may have been held by a thread that does not exist here."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
