"""One open connection to a simulated host: how each call looks at the estate or changes it, and how it breaks."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from hypervisor.errors import AccessDenied, GuestBusy, GuestStateInvalid, HostUnreachable
from hypervisor.simulated_driver import faults, guests, schedule
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.store import Store, open_store, speed

T = TypeVar("T")

#: How long a host lets a change wait for a guest that it is working on, before it gives up (libvirt's job lock).
JOB_LOCK_SECONDS = 30.0
_POLL_SECONDS = 0.02


class Session:
    """A connection to one host of the estate."""

    def __init__(self, host_name: str) -> None:
        self.host = host_name
        self.uri = f"sim://{host_name}/"
        self.store = open_store()
        self._closed = threading.Event()
        self._epoch = _connect(self.store, host_name)

    def is_alive(self) -> bool:
        """Whether the connection still stands."""
        return not self._closed.is_set() and _epoch(self.store, self.host) == self._epoch

    @property
    def closed(self) -> bool:
        """Whether its owner closed it."""
        return self._closed.is_set()

    def together(self, work: Callable[[], T], *, seconds: float | None = None) -> T:
        """Make the calls in `work`: here nothing is saved by it, and each has its own patience."""
        return work()

    def close(self) -> None:
        """Close it; calls that wait in other threads fail with HostUnreachable. Idempotent."""
        self._closed.set()

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """Read the estate as it is now."""
        with _translated(self.host):
            schedule.settle(self.store)
            self._check()
            yield self.store.connection()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Change the estate in one transaction, from what it is now."""
        with _translated(self.host):
            self._check()
            with self.store.change() as tx:
                schedule.settle_in(tx)
                self._check_epoch()
                yield tx

    @contextmanager
    def change_guest(self, uuid: str) -> Iterator[tuple[sqlite3.Connection, sqlite3.Row]]:
        """Change a guest on which the host is not working; waits for that.

        Raises GuestNotFound, and GuestBusy when the host's patience is over.
        """
        give_up = time.monotonic() + JOB_LOCK_SECONDS / speed()
        while True:
            with self.change() as tx:
                guest = guests.find(tx, self.host, uuid)
                if not guest["job"]:
                    yield tx, guest
                    return
            if time.monotonic() > give_up:
                raise GuestBusy(f"The host {self.host} is working on {guest['name']}: {guest['job']}.")
            self.pause()

    def wait_until(self, done: Callable[[sqlite3.Connection], bool]) -> None:
        """Wait for something that the hosts do by themselves. Raises HostUnreachable if the connection breaks."""
        while True:
            with self.look() as db:
                if done(db):
                    return
            self.pause()

    def pause(self, seconds: float | None = None) -> None:
        """Wait that long, or until about the next thing is due. Raises HostUnreachable when closed meanwhile."""
        if seconds is None:
            due = schedule.next_due(self.store.connection())
            seconds = _POLL_SECONDS if due is None else min(_POLL_SECONDS, max(0.001, due - time.time()))
        if self._closed.wait(seconds):
            raise HostUnreachable(f"The connection to {self.host} was closed.")

    def holds_back_events(self) -> bool:
        """Whether the host is hung, so that no event gets here."""
        return faults.lasting(self.store.connection(), Fault.HOST_HUNG, self.host) is not None

    def _check(self) -> None:
        """Raise HostUnreachable if the connection is broken; wait while the host hangs."""
        while True:
            if self._closed.is_set():
                raise HostUnreachable(f"The connection to {self.host} is closed.")
            self._check_epoch()
            if not self.holds_back_events():
                return
            schedule.settle(self.store)
            self.pause()

    def _check_epoch(self) -> None:
        if _epoch(self.store, self.host) != self._epoch:
            raise HostUnreachable(f"The connection to {self.host} is broken.")


def must_be_active(guest: sqlite3.Row) -> None:
    """Raise GuestStateInvalid if the guest is off."""
    if not guests.is_active(guest):
        raise GuestStateInvalid(f"{guest['name']} is not running.")


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """Only HypervisorError leaves the driver."""
    try:
        yield
    except sqlite3.Error as error:
        raise HostUnreachable(f"The simulated host {host} did not answer: {error}.") from error


def _epoch(store: Store, host: str) -> int:
    """The host's epoch; 0 when there is no such host."""
    row = store.connection().execute("SELECT epoch FROM hosts WHERE name = ?", (host,)).fetchone()
    return int(row[0]) if row else 0


def _connect(store: Store, host: str) -> int:
    """Reach the host, as a new connection does; returns its epoch."""
    with _translated(host):
        db = store.connection()
        schedule.settle(store)
        hung = faults.lasting(db, Fault.HOST_HUNG, host)
        give_up = time.monotonic() + (hung.value if hung else 0)
        while hung is not None:
            if time.monotonic() > give_up:
                raise HostUnreachable(f"The host {host} does not answer.")
            time.sleep(_POLL_SECONDS)
            hung = faults.lasting(db, Fault.HOST_HUNG, host)
        epoch = _epoch(store, host)
        if epoch == 0 or faults.lasting(db, Fault.HOST_DOWN, host):
            raise HostUnreachable(f"The host {host} cannot be reached.")
        if faults.lasting(db, Fault.HOST_REFUSES, host):
            raise AccessDenied(f"The host {host} refused our credentials.")
        return epoch


@schedule.handles("hang_noticed")
def _hang_noticed(tx: sqlite3.Connection, due: sqlite3.Row) -> None:
    """The keepalive of the connections runs out, if the host still hangs."""
    fault = faults.lasting(tx, Fault.HOST_HUNG, due["host"])
    if fault is not None and str(fault.id) == due["data"]:
        faults.break_connections(tx, due["host"])
