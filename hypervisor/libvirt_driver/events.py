"""Events of a host, from libvirt's event loop to whoever watches.

The loop's thread only puts an event into a queue; a thread of the subscription takes it out and calls the watcher,
so that a slow watcher delays itself and nobody else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import libvirt

from hypervisor.libvirt_driver.jobinfo import event_data
from hypervisor.libvirt_driver.states import lifecycle
from hypervisor.types import EventKind, GuestEvent

logger = logging.getLogger(__name__)

#: Events kept for a watcher that lags behind; what comes on top is dropped and counted. Events are hints: whoever
#: missed some looks at the state again.
BACKLOG = 10_000
#: Detail of the event that tells how many were dropped.
EVENTS_LOST = "events_lost"

_AGENT_STATES = MappingProxyType(
    {
        libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED: EventKind.AGENT_CONNECTED,
        libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED: EventKind.AGENT_DISCONNECTED,
    }
)

Reading = tuple[EventKind, str, dict[str, Any]]


def _on_lifecycle(event: int, detail: int) -> Reading:
    return (*lifecycle(event, detail), {})


def _on_reboot() -> Reading:
    return EventKind.REBOOTED, "", {}


def _on_metadata(_kind: int, namespace: str | None) -> Reading:
    return EventKind.METADATA_CHANGED, namespace or "", {}


def _on_iteration(iteration: int) -> Reading:
    return EventKind.MIGRATION_ITERATION, "", {"iteration": iteration}


def _on_job_completed(stats: dict[str, Any]) -> Reading:
    return EventKind.JOB_COMPLETED, "", event_data(stats)


def _on_agent(state: int, _reason: int) -> Reading:
    return _AGENT_STATES.get(state, EventKind.OTHER), "agent", {}


def _on_io_error(_path: str, _device: str, _action: int, reason: str) -> Reading:
    return EventKind.OTHER, "io_error", {"reason": reason}


#: The events we ask for, each with the reader of its arguments.
READERS: MappingProxyType[int, Callable[..., Reading]] = MappingProxyType(
    {
        libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE: _on_lifecycle,
        libvirt.VIR_DOMAIN_EVENT_ID_REBOOT: _on_reboot,
        libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE: _on_metadata,
        libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION: _on_iteration,
        libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED: _on_job_completed,
        libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: _on_agent,
        libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON: _on_io_error,
    }
)


class Delivery:
    """One watcher, its queue and its thread."""

    def __init__(self, on_event: Callable[[GuestEvent], None], on_close: Callable[[str], None]) -> None:
        self._on_event = on_event
        self._on_close = on_close
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(BACKLOG)
        self._ended = False
        self._delivering = threading.RLock()  # re-entrant: a watcher may end the delivery from within
        self._lost = 0
        self._lost_lock = threading.Lock()
        threading.Thread(target=self._deliver_all, name="libvirt-watch", daemon=True).start()

    def end(self) -> bool:
        """Deliver nothing any more once this returns; False if it had ended already."""
        with self._delivering:
            if self._ended:
                return False
            self._ended = True
        self._put(None)
        return True

    def announce(self, kind: EventKind, domain: libvirt.virDomain, detail: str, data: dict[str, Any]) -> None:
        """Queue an event (called in the event loop's thread: no round trips)."""
        event = GuestEvent(kind, domain.UUIDString(), domain.name(), datetime.now(UTC), time.monotonic(), detail, data)
        if not self._put(lambda: self._on_event(event)):
            with self._lost_lock:
                self._lost += 1

    def announce_close(self, reason: str) -> None:
        """Queue the end of the connection, behind the events that came before it; nothing comes after it."""

        def last() -> None:
            self._ended = True
            self._on_close(reason)

        while not self._put(last):
            self._drop_one()

    def _put(self, delivery: Callable[[], None] | None) -> bool:
        try:
            self._queue.put_nowait(delivery)
        except queue.Full:
            return False
        return True

    def _drop_one(self) -> None:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            return

    def _deliver_all(self) -> None:
        while not self._ended:
            delivery = self._queue.get()
            if delivery is not None:
                self._deliver(delivery)
            with self._lost_lock:
                lost, self._lost = self._lost, 0
            if lost:
                event = GuestEvent(
                    EventKind.OTHER, "", "", datetime.now(UTC), time.monotonic(), EVENTS_LOST, {"count": lost}
                )
                self._deliver(lambda event=event: self._on_event(event))  # type: ignore[misc]

    def _deliver(self, delivery: Callable[[], None]) -> None:
        with self._delivering:
            if self._ended:
                return
            try:
                delivery()
            except Exception:
                logger.exception("A watcher of hypervisor events failed on one; it gets the next")


def callback(delivery: Delivery, reader: Callable[..., Reading]) -> Callable[..., None]:
    """What libvirt calls for one kind of event; its last argument is libvirt's own `opaque`."""

    def called(_handle: libvirt.virConnect, domain: libvirt.virDomain, *arguments: Any) -> None:
        kind, detail, data = reader(*arguments[:-1])
        delivery.announce(kind, domain, detail, data)

    return called
