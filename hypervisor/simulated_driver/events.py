"""What the simulated hosts announce: rows of one table, which every watching process tails."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

from hypervisor.types import EventKind, GuestEvent

#: The newest rows that are kept; a watcher that is further behind than this has lost the rest, as with a real host.
KEPT_EVENTS = 50_000
_PRUNE_EVERY = 1_000


def emit(
    tx: sqlite3.Connection,
    guest: sqlite3.Row,
    kind: EventKind,
    *,
    at: float,
    detail: str = "",
    data: dict[str, Any] | None = None,
) -> None:
    """Announce something about a guest, within the transaction that does it."""
    row = (at, guest["host"], guest["uuid"], guest["name"], kind.value, detail, json.dumps(data or {}))
    cursor = tx.execute("INSERT INTO events (at, host, uuid, name, kind, detail, data) VALUES (?,?,?,?,?,?,?)", row)
    number = cursor.lastrowid or 0
    if number % _PRUNE_EVERY == 0:
        tx.execute("DELETE FROM events WHERE id <= ?", (number - KEPT_EVENTS,))


def newest(db: sqlite3.Connection) -> int:
    """The number of the newest event so far, 0 if there was none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(row[0]) if row else 0


def after(db: sqlite3.Connection, number: int) -> list[tuple[int, str, GuestEvent]]:
    """Events after that number, as (number, host, event), in the order in which they happened."""
    rows = db.execute("SELECT * FROM events WHERE id > ? ORDER BY id", (number,)).fetchall()
    monotonic_at_zero = time.monotonic() - time.time()
    return [(row["id"], row["host"], _event(row, monotonic_at_zero)) for row in rows]


def _event(row: sqlite3.Row, monotonic_at_zero: float) -> GuestEvent:
    return GuestEvent(
        kind=EventKind(row["kind"]),
        uuid=row["uuid"],
        name=row["name"],
        at=datetime.fromtimestamp(row["at"], UTC),
        monotonic=row["at"] + monotonic_at_zero,
        detail=row["detail"],
        data=json.loads(row["data"]),
    )
