"""The rows of the guests: finding them, and the changes of state that several parts make."""

from __future__ import annotations

import sqlite3
import uuid as uuids
from enum import StrEnum
from typing import Any

from hypervisor.errors import GuestNotFound
from hypervisor.simulated_driver import events, schedule
from hypervisor.simulated_driver.definition import Config
from hypervisor.types import EventKind, GuestState, PowerState, StateReason

BOOT_SECONDS = 6.0
AGENT_RESTART_SECONDS = 1.0
#: Schedule entries that belong to the guest itself and go with it to another host.
GUESTS_OWN = ("shutdown", "rebooted", "agent_up")


class Job(StrEnum):
    """What a host is doing to a guest; "" when nothing."""

    MIGRATION_OUT = "migration_out"
    MIGRATION_IN = "migration_in"
    SNAPSHOT = "snapshot"
    REVERT = "revert"


def find(db: sqlite3.Connection, host: str, uuid: str) -> sqlite3.Row:
    """A guest's row. Raises GuestNotFound."""
    row = look(db, host, uuid)
    if row is None:
        raise GuestNotFound(f"The host {host} does not know a guest {uuid}.")
    return row


def look(db: sqlite3.Connection, host: str, uuid: str) -> sqlite3.Row | None:
    """A guest's row, if the host knows it."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM guests WHERE host = ? AND uuid = ?", (host, uuid)).fetchone()
    return row


def state_of(row: sqlite3.Row) -> GuestState:
    """The cheap facts of a guest's row."""
    return GuestState(
        uuid=row["uuid"],
        name=row["name"],
        state=PowerState(row["state"]),
        reason=StateReason(row["reason"]),
        memory_mib=row["memory_mib"],
        vcpus=row["vcpus"],
        persistent=bool(row["persistent"]),
    )


def is_active(row: sqlite3.Row) -> bool:
    """Whether there is a QEMU for it."""
    return row["state"] not in (PowerState.SHUT_OFF, PowerState.CRASHED)


def image_holder(db: sqlite3.Connection, row: sqlite3.Row) -> str:
    """The other host whose QEMU has locked the guest's image, "" if none.

    QEMU unlocks the image of a guest that it hands over, and locks one that it takes in when it starts to run.
    """
    handed_over = (StateReason.MIGRATION.value, StateReason.POSTCOPY.value, StateReason.POSTCOPY_FAILED.value)
    holder = db.execute(
        "SELECT host FROM guests WHERE uuid = ? AND host <> ?"
        " AND (state = 'running' OR state = 'paused' AND reason NOT IN (?, ?, ?))",
        (row["uuid"], row["host"], *handed_over),
    ).fetchone()
    return holder["host"] if holder else ""


def cpu_ns(row: sqlite3.Row, now: float) -> int:
    """CPU time used by the guest's present QEMU."""
    if row["running_since"] is None:
        return int(row["ran_ns"])
    used = row["vcpus"] * Config.loads(row["config"]).cpu_part
    return int(row["ran_ns"] + max(0.0, now - row["running_since"]) * 1e9 * used)


def set_state(tx: sqlite3.Connection, row: sqlite3.Row, state: PowerState, reason: StateReason, at: float) -> None:
    """Change state and reason; keeps the account of CPU time."""
    running_since = at if state is PowerState.RUNNING else None
    if state is PowerState.RUNNING and row["running_since"] is not None:
        running_since = row["running_since"]
    ran_ns = row["ran_ns"] if running_since else cpu_ns(row, at)
    tx.execute(
        "UPDATE guests SET state = ?, reason = ?, running_since = ?, ran_ns = ? WHERE host = ? AND uuid = ?",
        (state.value, reason.value, running_since, ran_ns, row["host"], row["uuid"]),
    )


def set_job(tx: sqlite3.Connection, row: sqlite3.Row, job: Job | None) -> None:
    """Note what the host is doing to a guest."""
    value = job.value if job else ""
    tx.execute("UPDATE guests SET job = ? WHERE host = ? AND uuid = ?", (value, row["host"], row["uuid"]))


def boot(tx: sqlite3.Connection, row: sqlite3.Row, at: float) -> None:
    """The guest's system starts afresh: another boot id, and an agent in a while."""
    schedule.cancel(tx, row["host"], row["uuid"], *GUESTS_OWN)
    tx.execute(
        "UPDATE guests SET boot = ?, agent_up = 0 WHERE host = ? AND uuid = ?",
        (str(uuids.uuid4()), row["host"], row["uuid"]),
    )
    schedule.put_in(tx, at, BOOT_SECONDS, "agent_up", row)


def power_on(tx: sqlite3.Connection, row: sqlite3.Row, reason: StateReason, at: float) -> None:
    """A new QEMU runs the guest from its disks."""
    tx.execute("UPDATE guests SET ran_ns = 0 WHERE host = ? AND uuid = ?", (row["host"], row["uuid"]))
    row = find(tx, row["host"], row["uuid"])
    set_state(tx, row, PowerState.RUNNING, reason, at)
    boot(tx, row, at)
    events.emit(tx, row, EventKind.STARTED, at=at, detail=reason.value)


def power_off(tx: sqlite3.Connection, row: sqlite3.Row, reason: StateReason, at: float) -> None:
    """The guest's QEMU is gone; so is the guest, if it was not persistent."""
    schedule.cancel(tx, row["host"], row["uuid"], *GUESTS_OWN)
    if row["agent_up"]:
        events.emit(tx, row, EventKind.AGENT_DISCONNECTED, at=at)
    if row["persistent"]:
        set_state(tx, row, PowerState.SHUT_OFF, reason, at)
        tx.execute(
            "UPDATE guests SET agent_up = 0, job = '', boot = '', operation_id = '' WHERE host = ? AND uuid = ?",
            (row["host"], row["uuid"]),
        )
    else:
        remove(tx, row)
    events.emit(tx, row, EventKind.STOPPED, at=at, detail=reason.value)


def insert(tx: sqlite3.Connection, values: dict[str, Any]) -> None:
    """Add a guest's row; `values` by column."""
    marks = ",".join("?" * len(values))
    # The column names are the callers' own words.
    tx.execute(f"INSERT INTO guests ({','.join(values)}) VALUES ({marks})", tuple(values.values()))  # noqa: S608


def remove(tx: sqlite3.Connection, row: sqlite3.Row) -> None:
    """The host forgets the guest and its snapshots' metadata; the images stay."""
    key = (row["host"], row["uuid"])
    tx.execute("DELETE FROM guests WHERE host = ? AND uuid = ?", key)
    tx.execute("DELETE FROM snapshots WHERE host = ? AND uuid = ?", key)


@schedule.handles("agent_up")
def _agent_up(tx: sqlite3.Connection, due: sqlite3.Row) -> None:
    row = look(tx, due["host"], due["uuid"])
    if row is not None and is_active(row):
        tx.execute("UPDATE guests SET agent_up = 1 WHERE host = ? AND uuid = ?", (row["host"], row["uuid"]))
        events.emit(tx, row, EventKind.AGENT_CONNECTED, at=due["due"])


@schedule.handles("rebooted")
def _rebooted(tx: sqlite3.Connection, due: sqlite3.Row) -> None:
    row = look(tx, due["host"], due["uuid"])
    if row is None or row["state"] != PowerState.RUNNING:
        return
    if row["agent_up"]:
        events.emit(tx, row, EventKind.AGENT_DISCONNECTED, at=due["due"])
    boot(tx, row, due["due"])
    events.emit(tx, row, EventKind.REBOOTED, at=due["due"])
