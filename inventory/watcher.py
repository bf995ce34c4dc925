"""The watcher: one thread per host that listens to its events and writes sightings at once.

Events are hints: on each one the host is asked what is true. Events that were missed (the watcher was down, the
connection broke) are made up for by a full read at every connect. A thread that cannot connect tries again with a
growing pause.
"""

from __future__ import annotations

import logging
import queue
import threading
import time

from django.db import close_old_connections
from django.db import connection as database

from hypervisor import connect
from hypervisor.errors import HypervisorError
from hypervisor.protocol import Hypervisor
from hypervisor.types import MARK_NAMESPACE, EventKind, GuestEvent
from inventory.changes import events_noted
from inventory.models import VM, Host
from inventory.syncing import guest_read, guests_read, host_facts_read, host_unreachable, vm_details_read

log = logging.getLogger(__name__)

#: Pause before connecting again, in seconds: doubled at each failure up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: How often the list of hosts is read again, in seconds.
HOSTS_EVERY = 5.0
#: Events after which the definition and the snapshots are read again too.
CHANGES_DETAILS = frozenset(
    {EventKind.DEFINED, EventKind.STARTED, EventKind.STOPPED, EventKind.RESUMED, EventKind.METADATA_CHANGED,
     EventKind.AGENT_CONNECTED, EventKind.AGENT_DISCONNECTED}
)  # fmt: skip
#: Events that say nothing about where a guest is or what it does.
UNINTERESTING = frozenset({EventKind.MIGRATION_ITERATION, EventKind.JOB_COMPLETED})


class HostWatch(threading.Thread):
    """Watches one host until stopped."""

    def __init__(self, host: Host) -> None:
        super().__init__(name=f"watch-{host.name}", daemon=True)
        self.host = host
        self._stop_requested = threading.Event()
        self._events: queue.SimpleQueue[GuestEvent | str] = queue.SimpleQueue()

    def stop(self) -> None:
        """Ask the thread to end; it does within a second or two."""
        self._stop_requested.set()
        self._events.put("stop")

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop_requested.is_set():
            started = time.monotonic()
            try:
                self._watch_once()
            except HypervisorError as error:
                host_unreachable(self.host, error)
            except Exception:
                log.exception("watching %s failed", self.host.name)
            finally:
                close_old_connections()
            if time.monotonic() - started > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            self._stop_requested.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        database.close()

    def _watch_once(self) -> None:
        """Connect, read everything, then follow events until the connection breaks or the watch is stopped."""
        connection = connect.connect(self.host.uri)
        subscription = None
        try:
            self._events = queue.SimpleQueue()
            subscription = connection.watch(self._events.put, self._events.put)
            host_facts_read(self.host, connection)
            guests_read(self.host, connection)
            log.info("watching %s", self.host.name)
            while not self._stop_requested.is_set():
                events = self._next_events()
                self._take_in(connection, [event for event in events if isinstance(event, GuestEvent)])
                endings = [event for event in events if isinstance(event, str)]
                if endings:
                    log.warning("the connection to %s ended: %s", self.host.name, endings[0])
                    return
        finally:
            if subscription is not None:
                subscription.stop()
            connection.close()

    def _next_events(self) -> list[GuestEvent | str]:
        """Wait for an event; with it come all that have queued up behind it."""
        events = [self._events.get()]
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def _take_in(self, connection: Hypervisor, events: list[GuestEvent]) -> None:
        """Read each guest that was spoken of once, whatever number of events told of it."""
        telling = [event for event in events if not _says_nothing(event)]
        events_noted(self.host, telling)
        changed = {event.uuid for event in telling if event.kind in CHANGES_DETAILS}
        for uuid in dict.fromkeys(event.uuid for event in telling):
            guest_read(self.host, connection, uuid)
            vm = VM.objects.filter(uuid=uuid, host=self.host).first() if uuid in changed else None
            if vm is not None:
                vm_details_read(vm, connection)


def _says_nothing(event: GuestEvent) -> bool:
    """Whether nothing in the inventory can have changed: our own mark, above all, is no news."""
    ours = event.kind is EventKind.METADATA_CHANGED and event.detail == MARK_NAMESPACE
    return ours or event.kind in UNINTERESTING


class Watcher:
    """All hosts' watches, kept in step with the hosts there are."""

    def __init__(self) -> None:
        self._watches: dict[int, HostWatch] = {}
        self._stop_requested = threading.Event()

    def stop(self) -> None:
        """End `run`."""
        self._stop_requested.set()

    def run(self) -> None:
        """Watch until stopped."""
        while not self._stop_requested.is_set():
            close_old_connections()
            self._follow_hosts()
            self._stop_requested.wait(HOSTS_EVERY)
        for watch in self._watches.values():
            watch.stop()
        for watch in self._watches.values():
            watch.join(timeout=5)

    def _follow_hosts(self) -> None:
        hosts = {host.pk: host for host in Host.objects.all()}
        for pk in list(self._watches):
            watch = self._watches[pk]
            if pk not in hosts or hosts[pk].uri != watch.host.uri or not watch.is_alive():
                watch.stop()
                del self._watches[pk]
        for pk, host in hosts.items():
            if pk not in self._watches:
                self._watches[pk] = HostWatch(host)
                self._watches[pk].start()
