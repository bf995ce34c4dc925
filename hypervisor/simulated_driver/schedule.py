"""What is to happen later, and `settle`, which makes it happen when somebody next looks.

The simulated hosts have no process of their own. A transition that takes time (a guest that shuts down, a snapshot
being written, a migration) is a row with the moment at which it is due; whoever reads or changes the estate next
carries out all that is due, in order, each as of its own moment. So a migration goes on when its caller is gone.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from hypervisor.simulated_driver.store import Store, speed

Handler = Callable[[sqlite3.Connection, sqlite3.Row], None]
_handlers: dict[str, Handler] = {}


def handles(kind: str) -> Callable[[Handler], Handler]:
    """Register the function that carries out what is due; it gets the transaction and the schedule's row."""

    def register(handler: Handler) -> Handler:
        _handlers[kind] = handler
        return handler

    return register


def put(tx: sqlite3.Connection, due: float, kind: str, host: str, uuid: str, data: str = "") -> None:
    """Schedule something for the moment `due` (seconds since 1970)."""
    tx.execute("INSERT INTO schedule (due, kind, host, uuid, data) VALUES (?,?,?,?,?)", (due, kind, host, uuid, data))


def put_in(tx: sqlite3.Connection, at: float, seconds: float, kind: str, guest: sqlite3.Row, data: str = "") -> None:
    """Schedule something for a guest, `seconds` of simulated time after `at`."""
    put(tx, at + seconds / speed(), kind, guest["host"], guest["uuid"], data)


def cancel(tx: sqlite3.Connection, host: str, uuid: str, *kinds: str) -> None:
    """Take off what was scheduled for a guest: those kinds, or all."""
    if not kinds:
        tx.execute("DELETE FROM schedule WHERE uuid = ? AND host = ?", (uuid, host))
    for kind in kinds:
        tx.execute("DELETE FROM schedule WHERE uuid = ? AND host = ? AND kind = ?", (uuid, host, kind))


def next_due(db: sqlite3.Connection) -> float | None:
    """When something is due next, if anything is."""
    due: float | None = db.execute("SELECT min(due) FROM schedule").fetchone()[0]
    return due


def settle(store: Store) -> bool:
    """Carry out what is due by now; returns whether there was anything."""
    due = next_due(store.connection())
    if due is None or due > time.time():
        return False
    with store.change() as tx:
        settle_in(tx)
    return True


def settle_in(tx: sqlite3.Connection) -> None:
    """The same within a transaction that has been begun."""
    now = time.time()
    while True:
        row = tx.execute("SELECT * FROM schedule WHERE due <= ? ORDER BY due, id LIMIT 1", (now,)).fetchone()
        if row is None:
            return
        tx.execute("DELETE FROM schedule WHERE id = ?", (row["id"],))
        _handlers[row["kind"]](tx, row)
