"""Reading both hypervisors from beside the portal: a connection and a thread of its own for each host.

By the daemons' local sockets, so that a host that is cut off from the network is seen all the same.
"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import libvirt

from bench.crash.history import ABSENT, UNREADABLE, Reading, Standing
from hypervisor.libvirt_driver.loop import ensure_event_loop
from hypervisor.types import MARK_NAMESPACE
from lab.host import Host

LOOK_EVERY = 0.1
#: The first look at each host is waited for so long, in seconds.
FIRST_LOOK_WITHIN = 10.0
#: While a short phase is waited for.
LOOK_CLOSELY = 0.01
_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "off",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "off",
}


def open_local(host: Host) -> libvirt.virConnect:
    """A connection by the daemon's local socket. Raises libvirtError."""
    ensure_event_loop()
    handle = libvirt.open(f"qemu+unix:///system?socket={socket_of(host)}")
    handle.setKeepAlive(1, 2)
    return handle


def socket_of(host: Host) -> Path:
    """The daemon's local socket, as it is seen from outside the host's mounts."""
    return host.directory.resolve() / "run" / "libvirt-sock"


class Watch:
    """Reads one guest on several hosts until left."""

    def __init__(self, uuid: str, hosts: list[Host]) -> None:
        self._uuid = uuid
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._history: list[Reading] = []
        self.every = LOOK_EVERY
        self._first = {host.name: threading.Event() for host in hosts}
        self._threads = [threading.Thread(target=self._follow, args=(host,), daemon=True) for host in hosts]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        for looked in self._first.values():  # what a fault meets is known only from a look before it
            looked.wait(FIRST_LOOK_WITHIN)
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def history(self) -> list[Reading]:
        """What was read so far, in the order of the answers."""
        with self._lock:
            return sorted(self._history, key=lambda reading: reading.answered)

    def last(self, host: str) -> Reading | None:
        """The last answer of a host."""
        with self._lock:
            return next((reading for reading in reversed(self._history) if reading.host == host), None)

    def _follow(self, host: Host) -> None:
        handle = None
        while not self._over.wait(self.every):
            asked = time.monotonic()
            try:
                handle = handle or open_local(host)
                state, reason = _state(handle, self._uuid)
            except libvirt.libvirtError:
                handle, state, reason = None, UNREADABLE, 0
            with self._lock:
                self._history.append(Reading(host.name, asked, time.monotonic(), state, reason))
            self._first[host.name].set()


def _state(handle: libvirt.virConnect, uuid: str) -> tuple[str, int]:
    domain = _domain(handle, uuid)
    if domain is None:
        return ABSENT, 0
    try:
        state, reason = domain.state()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return ABSENT, 0
        raise
    return _STATES.get(state, "unknown"), reason


def _domain(handle: libvirt.virConnect, uuid: str) -> libvirt.virDomain | None:
    try:
        return handle.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def standing(host: Host, guest: str, uuid: str) -> Standing:
    """A host's word on the guest now; raises libvirtError when it does not answer."""
    handle: Any = open_local(host)
    try:
        state, _reason = _state(handle, uuid)
        qemu = host.qemu_pid(guest) is not None
        if state == ABSENT:
            return Standing(state, qemu=qemu)
        domain = handle.lookupByUUIDString(uuid)
        return Standing(
            state=state,
            persistent=bool(domain.isPersistent()),
            autostart=bool(domain.autostart()) if domain.isPersistent() else False,
            mark=_mark(domain),
            snapshots={one.getName(): _parent(one) for one in domain.listAllSnapshots()},
            qemu=qemu,
        )
    finally:
        handle.close()


def _mark(domain: libvirt.virDomain) -> str:
    """The job's id in Slipway's mark, from the live definition."""
    found = re.search(f"{re.escape(MARK_NAMESPACE)}[\"'] id=[\"']([^\"']*)", domain.XMLDesc())
    return found[1] if found else ("marked" if MARK_NAMESPACE in domain.XMLDesc() else "")


def _parent(snapshot: libvirt.virDomainSnapshot) -> str:
    try:
        return str(snapshot.getParent().getName())
    except libvirt.libvirtError:
        return ""
