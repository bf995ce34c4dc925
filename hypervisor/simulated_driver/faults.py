"""Faults that can be planted in the simulated estate: what real hosts do rarely, on demand.

`plant` says what is to go wrong and how often; the driver takes the fault when it gets there. What happens once and
at once (a daemon killed, a guest's process killed) is in `accidents`.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from enum import StrEnum

from hypervisor.simulated_driver import store


class Fault(StrEnum):
    """What can go wrong. `value` of `plant` is in the unit named here."""

    HOST_DOWN = "host_down"  # every call fails at once, open connections break
    HOST_HUNG = "host_hung"  # calls block; after `value` seconds the connections break, as a keepalive would have it
    HOST_REFUSES = "host_refuses"  # a new connection is refused: our credentials
    LIST_SLOW = "list_slow"  # list_guests takes `value` seconds
    START_FAILS = "start_fails"
    SHUTDOWN_IGNORED = "shutdown_ignored"  # the guest takes the request and runs on
    MIGRATION_REFUSED = "migration_refused"
    MIGRATION_FAILS = "migration_fails"  # at `value` per cent of the first pass; 100: in stop-and-copy
    MIGRATION_DESTINATION_DIES = "migration_destination_dies"  # likewise, and the destination host is down from then on
    MIGRATION_NEVER_CONVERGES = "migration_never_converges"  # however throttled
    MIGRATION_UNCONFIRMED = "migration_unconfirmed"  # the source's daemon dies after the switch: both sides stay
    POSTCOPY_FAILS = "postcopy_fails"  # the link breaks in post-copy
    SNAPSHOT_CREATE_FAILS = "snapshot_create_fails"
    SNAPSHOT_STUCK = "snapshot_stuck"  # the daemon dies in the middle: the guest stays paused, an orphan in the image
    SNAPSHOT_REVERT_FAILS = "snapshot_revert_fails"  # and leaves the guest off
    SNAPSHOT_DELETE_FAILS = "snapshot_delete_fails"
    AGENT_SILENT = "agent_silent"  # never answers
    AGENT_GARBAGE = "agent_garbage"  # answers nonsense
    DISK_ERROR = "disk_error"  # the guest's first disk is in an error state


#: These stay until they are cleared; the others strike once unless `times` says otherwise.
_LASTING = frozenset(
    {
        Fault.HOST_DOWN,
        Fault.HOST_HUNG,
        Fault.HOST_REFUSES,
        Fault.LIST_SLOW,
        Fault.SHUTDOWN_IGNORED,
        Fault.AGENT_SILENT,
        Fault.AGENT_GARBAGE,
        Fault.DISK_ERROR,
    }
)
_VALUES = {
    Fault.HOST_HUNG: 20.0,
    Fault.LIST_SLOW: 5.0,
    Fault.MIGRATION_FAILS: 50.0,
    Fault.MIGRATION_DESTINATION_DIES: 50.0,
}


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault that waits, or lasts. `times` None: until it is cleared. `uuid` "": every guest of the host."""

    id: int
    kind: Fault
    host: str
    uuid: str
    times: int | None
    value: float


def plant(kind: Fault, host: str, uuid: str = "", *, times: int | None = None, value: float | None = None) -> Planted:
    """Plant a fault on a host, or on one guest of it; `times` and `value` have a default that fits the kind.

    A migration's faults are planted on its source. Planting HOST_DOWN breaks the open connections.
    """
    if times is None and kind not in _LASTING:
        times = 1
    if value is None:
        value = _VALUES.get(kind, 0.0)
    now = time.time()
    with store.open_store().change() as tx:
        cursor = tx.execute(
            "INSERT INTO faults (kind, host, uuid, times, value, planted) VALUES (?,?,?,?,?,?)",
            (kind.value, host, uuid, times, value, now),
        )
        number = cursor.lastrowid or 0
        if kind is Fault.HOST_DOWN:
            break_connections(tx, host)
        elif kind is Fault.HOST_HUNG:
            tx.execute(
                "INSERT INTO schedule (due, kind, host, uuid, data) VALUES (?, 'hang_noticed', ?, '', ?)",
                (now + value, host, str(number)),
            )
    return Planted(number, kind, host, uuid, times, value)


def clear(kind: Fault | None = None, host: str = "", uuid: str = "") -> int:
    """Take away the planted faults of that kind, host and guest (each: any, if not given); returns how many."""
    with store.open_store().change() as tx:
        cursor = tx.execute(
            "DELETE FROM faults WHERE (? = '' OR kind = ?) AND (? = '' OR host = ?) AND (? = '' OR uuid = ?)",
            (kind or "", kind or "", host, host, uuid, uuid),
        )
        return cursor.rowcount


def planted() -> list[Planted]:
    """All faults that are planted now, oldest first."""
    return [_planted(row) for row in store.open_store().connection().execute("SELECT * FROM faults ORDER BY id")]


def lasting(db: sqlite3.Connection, kind: Fault, host: str, uuid: str = "") -> Planted | None:
    """The planted fault of that kind that concerns this host or guest, untouched."""
    row = db.execute(
        "SELECT * FROM faults WHERE kind = ? AND host = ? AND uuid IN ('', ?) ORDER BY id LIMIT 1",
        (kind.value, host, uuid),
    ).fetchone()
    return _planted(row) if row else None


def take(tx: sqlite3.Connection, kind: Fault, host: str, uuid: str) -> Planted | None:
    """The same, used up once."""
    fault = lasting(tx, kind, host, uuid)
    if fault is None or fault.times is None:
        return fault
    if fault.times > 1:
        tx.execute("UPDATE faults SET times = times - 1 WHERE id = ?", (fault.id,))
    else:
        tx.execute("DELETE FROM faults WHERE id = ?", (fault.id,))
    return fault


def host_goes_down(tx: sqlite3.Connection, host: str, at: float) -> None:
    """Plant HOST_DOWN within a transaction."""
    tx.execute(
        "INSERT INTO faults (kind, host, uuid, times, value, planted) VALUES (?, ?, '', NULL, 0, ?)",
        (Fault.HOST_DOWN.value, host, at),
    )
    break_connections(tx, host)


def break_connections(tx: sqlite3.Connection, host: str) -> None:
    """Every connection that is open to the host now is broken for good; new ones are not."""
    tx.execute("UPDATE hosts SET epoch = epoch + 1 WHERE name = ?", (host,))


def _planted(row: sqlite3.Row) -> Planted:
    return Planted(row["id"], Fault(row["kind"]), row["host"], row["uuid"], row["times"], row["value"])
