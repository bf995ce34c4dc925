"""Delivering events: one thread a process tails the table of events for all who watch."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable

from hypervisor.simulated_driver import events, schedule
from hypervisor.simulated_driver.session import Session
from hypervisor.simulated_driver.store import Store
from hypervisor.types import EventKind, GuestEvent

#: How often the thread looks whether another process has changed the estate (a cheap question to SQLite).
POLL_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Watch:
    """One running subscription: a host's events, from the moment it was made."""

    def __init__(
        self,
        session: Session,
        on_event: Callable[[GuestEvent], None],
        on_close: Callable[[str], None],
        kinds: frozenset[EventKind],
    ) -> None:
        self.session = session
        self._kinds = kinds
        self._on_event = on_event
        self._on_close = on_close
        self._over = False
        self.new = True  # the thread has not looked for it yet
        # Re-entrant, so that a callback may stop its own subscription.
        self._lock = threading.RLock()
        with session.look() as db:
            self.seen = events.newest(db)
        _tailer(session.store).add(self)

    def stop(self) -> None:
        """End it; no event is delivered after this returns. Idempotent."""
        with self._lock:
            self._over = True

    @property
    def over(self) -> bool:
        """Whether it was stopped, or its connection broke or was closed."""
        return self._over or self.session.closed

    def deliver(self, number: int, host: str, event: GuestEvent) -> None:
        """Hand over one event, if it is of this host and new."""
        with self._lock:
            if self._over or number <= self.seen:
                return
            self.seen = number
            if host == self.session.host and event.kind in self._kinds:
                try:
                    self._on_event(event)
                except Exception:
                    _log.exception("A callback failed on an event of %s.", host)

    def end_if_broken(self) -> None:
        """Say so, once, if the connection is broken."""
        if not self.over and not self.session.is_alive():
            self.end(f"The connection to {self.session.host} broke.")

    def end(self, reason: str) -> None:
        """The connection is broken: tell, and deliver nothing more."""
        with self._lock:
            if self._over:
                return
            self._over = True
            try:
                self._on_close(reason)
            except Exception:
                _log.exception("A callback failed on the loss of %s.", self.session.host)


class _Tailer:
    """The thread of one process and one estate; it ends when nobody watches any more."""

    def __init__(self, store: Store) -> None:
        self.pid = os.getpid()
        self._store = store
        self._lock = threading.Lock()
        self._watches: list[Watch] = []
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        with self._lock:
            self._watches.append(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="simulated-events", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        version = -1
        while watches := self._still_watching():
            try:
                version = self._round(watches, version)
                due = schedule.next_due(self._store.connection())
            except sqlite3.Error as error:
                for watch in watches:
                    watch.end(f"The simulated estate cannot be read: {error}.")
                continue
            time.sleep(POLL_SECONDS if due is None else min(POLL_SECONDS, max(0.001, due - time.time())))

    def _round(self, watches: list[Watch], version: int) -> int:
        """Look once; returns the version of the estate that was looked at."""
        settled = schedule.settle(self._store)  # SQLite does not count this connection's own changes
        db = self._store.connection()
        newest = int(db.execute("PRAGMA data_version").fetchone()[0])
        if not settled and newest == version and not any(watch.new for watch in watches):
            return newest
        listening = [watch for watch in watches if not watch.session.holds_back_events()]
        for watch in listening:
            watch.new = False
        if listening:
            for number, host, event in events.after(db, min(watch.seen for watch in listening)):
                for watch in listening:
                    watch.deliver(number, host, event)
        for watch in watches:
            watch.end_if_broken()
        return newest

    def _still_watching(self) -> list[Watch]:
        with self._lock:
            self._watches = [watch for watch in self._watches if not watch.over]
            if not self._watches:
                self._thread = None
            return list(self._watches)


_tailers: dict[Store, _Tailer] = {}
_tailers_lock = threading.Lock()


def _tailer(store: Store) -> _Tailer:
    """This process's thread for that estate; a fork starts its own."""
    with _tailers_lock:
        if store not in _tailers or _tailers[store].pid != os.getpid():
            _tailers[store] = _Tailer(store)
        return _tailers[store]
