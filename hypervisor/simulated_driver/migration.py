"""A migration between two simulated hosts: the model's milestones, carried out on the guests' rows.

States, reasons and events on both sides follow what libvirt shows (its `qemuMigrationSrc*` and `qemuMigrationDst*`):
the destination waits paused, the source is paused in stop-and-copy, the destination runs before the source is gone.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from typing import Any

from hypervisor.simulated_driver import events, faults, guests, schedule
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.guests import Job
from hypervisor.simulated_driver.model import Milestone, Model, Phase, advance, before_next, next_due, progress
from hypervisor.simulated_driver.store import speed
from hypervisor.types import Activity, EventKind, MigrationProgress, MigrationSpec, PowerState, StateReason

MIB = 1024**2
_KEPT_RECORDS = 3
RUNS = ""  # the outcome of a migration that is under way
COMPLETED, ABORTED, FAILED = "completed", "aborted", "failed"


def begin(tx: sqlite3.Connection, guest: sqlite3.Row, destination: str, spec: MigrationSpec) -> int:
    """Start migrating; all checks have been made. Returns the migration's number."""
    now = time.time()
    notes = {
        "state": guest["state"],
        "reason": guest["reason"],
        "persistent": spec.persistent,
        "allow_postcopy": spec.allow_postcopy,
        "unconfirmed": faults.take(tx, Fault.MIGRATION_UNCONFIRMED, guest["host"], guest["uuid"]) is not None,
        "destination_dies": False,
        "replaced": None,
    }
    model = _model(tx, guest, destination, spec, notes)
    old = "SELECT id FROM migrations WHERE uuid = ? AND outcome <> '' ORDER BY id DESC LIMIT -1 OFFSET ?"
    tx.execute(f"DELETE FROM migrations WHERE id IN ({old})", (guest["uuid"], _KEPT_RECORDS))  # noqa: S608
    number = tx.execute(
        "INSERT INTO migrations (uuid, source, destination, started, speed, model, notes) VALUES (?,?,?,?,?,?,?)",
        (guest["uuid"], guest["host"], destination, now, speed(), _dumps(model), json.dumps(notes)),
    ).lastrowid
    guests.set_job(tx, guest, Job.MIGRATION_OUT)
    _plan_next(tx, _record(tx, number or 0), model)
    return number or 0


def resume(tx: sqlite3.Connection, guest: sqlite3.Row, destination: str) -> int | None:
    """Go on with a post-copy that broke off. Returns the migration's number, None when there is none to go on with."""
    record = tx.execute(
        "SELECT * FROM migrations WHERE uuid = ? AND source = ? AND destination = ? ORDER BY id DESC LIMIT 1",
        (guest["uuid"], guest["host"], destination),
    ).fetchone()
    model = _loads(record["model"]) if record else None
    there = guests.look(tx, destination, guest["uuid"])
    halves = [half["reason"] for half in (guest, there) if half is not None and guests.is_active(half)]
    if (
        model is None
        or there is None
        or model.phase is not Phase.POSTCOPY_FAILED
        or halves != [StateReason.POSTCOPY_FAILED] * 2
    ):
        return None
    now = time.time()
    breaks = faults.take(tx, Fault.POSTCOPY_FAILS, guest["host"], guest["uuid"]) is not None
    model = dataclasses.replace(model, phase=Phase.POSTCOPY, postcopy_breaks=breaks)
    tx.execute(
        "UPDATE migrations SET outcome = ?, message = '', started = ?, model = ? WHERE id = ?",
        (RUNS, now - model.clock / record["speed"], _dumps(model), record["id"]),
    )
    guests.set_job(tx, guest, Job.MIGRATION_OUT)
    guests.set_job(tx, there, Job.MIGRATION_IN)
    guests.set_state(tx, guest, PowerState.PAUSED, StateReason.POSTCOPY, now)
    guests.set_state(tx, there, PowerState.RUNNING, StateReason.POSTCOPY, now)
    record = _record(tx, record["id"])
    _plan_next(tx, record, model)
    return int(record["id"])


def active(db: sqlite3.Connection, source: str, uuid: str) -> sqlite3.Row | None:
    """The record of a guest's migration that is under way from this host."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM migrations WHERE uuid = ? AND source = ? AND outcome = ?", (uuid, source, RUNS)
    ).fetchone()
    return row


def model_now(record: sqlite3.Row) -> Model:
    """Where a migration that is under way is now; what is due since the estate was settled is left to the next look."""
    return before_next(_loads(record["model"]), (time.time() - record["started"]) * record["speed"])


def change_model(tx: sqlite3.Connection, record: sqlite3.Row, model: Model) -> None:
    """Let a migration go on with other parameters."""
    schedule.cancel(tx, record["source"], record["uuid"], "migration")
    tx.execute("UPDATE migrations SET model = ? WHERE id = ?", (_dumps(model), record["id"]))
    _plan_next(tx, record, model)


def outcome(db: sqlite3.Connection, number: int) -> tuple[str, str]:
    """How a migration ended, and the sentence about it; ("", "") while it goes on."""
    row = db.execute("SELECT outcome, message FROM migrations WHERE id = ?", (number,)).fetchone()
    return (row["outcome"], row["message"]) if row else (FAILED, "The migration's record is gone.")


def completed(db: sqlite3.Connection, host: str, uuid: str) -> MigrationProgress | None:
    """The figures of the last migration of a guest to this host; as with libvirt, not of a post-copy one."""
    row = db.execute(
        "SELECT model FROM migrations WHERE uuid = ? AND destination = ? AND outcome = ? ORDER BY id DESC LIMIT 1",
        (uuid, host, COMPLETED),
    ).fetchone()
    model = _loads(row["model"]) if row else None
    if model is None or model.postcopy:
        return None
    return dataclasses.replace(progress(model), activity=Activity.MIGRATION_IN)


def guest_gone(tx: sqlite3.Connection, row: sqlite3.Row, at: float) -> None:
    """End the migration of a guest whose QEMU on this host is going; called before it goes."""
    record = tx.execute(
        "SELECT * FROM migrations WHERE uuid = ? AND ? IN (source, destination) AND outcome = ?",
        (row["uuid"], row["host"], RUNS),
    ).fetchone()
    if record is None:
        return
    model = model_now(record)
    if model.phase is Phase.SWITCHED:
        _complete(tx, record, dataclasses.replace(model, phase=Phase.COMPLETED), at)
    elif model.phase is Phase.POSTCOPY:
        _break_postcopy(tx, record, model, at)
    else:
        _undo(tx, record, model, at, FAILED, "The guest stopped on one of the hosts while it was being migrated.")


def daemon_gone(tx: sqlite3.Connection, host: str, at: float) -> None:
    """End the migrations from and to a host whose daemon is killed: before the switch they are undone by the peer."""
    sql = "SELECT * FROM migrations WHERE ? IN (source, destination) AND outcome = ?"
    for record in tx.execute(sql, (host, RUNS)).fetchall():
        model = model_now(record)
        if model.phase is Phase.SWITCHED:
            _leave_unconfirmed(tx, record, model)
        elif model.phase is Phase.POSTCOPY:
            _break_postcopy(tx, record, model, at)
        else:
            _undo(tx, record, model, at, FAILED, f"The connection to the daemon of {host} was lost.")


@schedule.handles("migration")
def _step(tx: sqlite3.Connection, due: sqlite3.Row) -> None:
    record = _record(tx, int(due["data"]))
    before = _loads(record["model"])
    model, passed = advance(before, next_due(before))
    tx.execute("UPDATE migrations SET model = ? WHERE id = ?", (_dumps(model), record["id"]))
    for milestone in passed:
        _carry_out(tx, record, model, milestone, due["due"])
    if not model.over and outcome(tx, record["id"])[0] == RUNS:
        _plan_next(tx, record, model)


def _carry_out(tx: sqlite3.Connection, record: sqlite3.Row, model: Model, milestone: Milestone, at: float) -> None:
    notes = json.loads(record["notes"])
    match milestone:
        case Milestone.DESTINATION_READY:
            _start_destination(tx, record, notes, at)
        case Milestone.ITERATION:
            source = guests.find(tx, record["source"], record["uuid"])
            events.emit(tx, source, EventKind.MIGRATION_ITERATION, at=at, data={"iteration": model.iteration})
        case Milestone.STOPPED:
            _pause_source(tx, record, StateReason.MIGRATION, at)
        case Milestone.POSTCOPY:
            _go_postcopy(tx, record, at)
        case Milestone.SWITCHED:
            _switch(tx, record, notes, at)
            if notes["unconfirmed"]:
                _leave_unconfirmed(tx, record, model)
        case Milestone.COMPLETED:
            _complete(tx, record, model, at)
        case Milestone.ABORTED:
            _undo(tx, record, model, at, ABORTED, "The migration was cancelled on request.")
        case Milestone.FAILED:
            if notes["destination_dies"]:
                faults.host_goes_down(tx, record["destination"], at)
            _undo(tx, record, model, at, FAILED, "The destination broke off the migration.")
        case Milestone.POSTCOPY_FAILED:
            _break_postcopy(tx, record, model, at)


def _start_destination(tx: sqlite3.Connection, record: sqlite3.Row, notes: dict[str, Any], at: float) -> None:
    source = guests.find(tx, record["source"], record["uuid"])
    there = guests.look(tx, record["destination"], record["uuid"])
    if (there is not None and guests.is_active(there)) or _name_is_taken(tx, record, source["name"]):
        _undo(tx, record, _loads(record["model"]), at, FAILED, "The destination has such a guest by now.")
        return
    values = {key: source[key] for key in source.keys()}  # noqa: SIM118 - a Row iterates over its values
    values |= {
        "host": record["destination"],
        "state": PowerState.PAUSED.value,
        "reason": StateReason.MIGRATION.value,
        "persistent": int(there is not None),
        "autostart": there["autostart"] if there is not None else 0,
        "job": Job.MIGRATION_IN.value,
        "agent_up": 0,
        "ran_ns": 0,
        "running_since": None,
    }
    if there is not None:  # an inactive definition, which gives way; it comes back if the migration fails
        replaced = {key: there[key] for key in there.keys()}  # noqa: SIM118
        remembered = json.dumps(notes | {"replaced": replaced})
        tx.execute("UPDATE migrations SET notes = ? WHERE id = ?", (remembered, record["id"]))
        tx.execute("DELETE FROM guests WHERE host = ? AND uuid = ?", (there["host"], there["uuid"]))
    guests.insert(tx, values)
    events.emit(tx, _destination(tx, record), EventKind.STARTED, at=at, detail="migrated")


def _pause_source(tx: sqlite3.Connection, record: sqlite3.Row, reason: StateReason, at: float) -> None:
    source = guests.find(tx, record["source"], record["uuid"])
    guests.set_state(tx, source, PowerState.PAUSED, reason, at)
    if source["state"] == PowerState.RUNNING:
        events.emit(tx, source, EventKind.SUSPENDED, at=at, detail="migrated")
    if reason is StateReason.POSTCOPY:
        events.emit(tx, source, EventKind.SUSPENDED, at=at, detail="postcopy")


def _go_postcopy(tx: sqlite3.Connection, record: sqlite3.Row, at: float) -> None:
    _pause_source(tx, record, StateReason.POSTCOPY, at)
    destination = _destination(tx, record)
    guests.set_state(tx, destination, PowerState.RUNNING, StateReason.POSTCOPY, at)
    _move_inner_life(tx, record, at)
    events.emit(tx, destination, EventKind.RESUMED, at=at, detail="postcopy")


def _switch(tx: sqlite3.Connection, record: sqlite3.Row, notes: dict[str, Any], at: float) -> None:
    source, destination = guests.find(tx, record["source"], record["uuid"]), _destination(tx, record)
    if notes["persistent"] and source["persistent"]:
        tx.execute(
            "UPDATE guests SET persistent = 1 WHERE host = ? AND uuid = ?", (record["destination"], record["uuid"])
        )
        events.emit(tx, destination, EventKind.DEFINED, at=at, detail="added")
    if notes["state"] == PowerState.RUNNING:
        guests.set_state(tx, destination, PowerState.RUNNING, StateReason.MIGRATED, at)
        events.emit(tx, destination, EventKind.RESUMED, at=at, detail="migrated")
    else:
        guests.set_state(tx, destination, PowerState.PAUSED, StateReason.USER, at)
    if destination["reason"] != StateReason.POSTCOPY:
        _move_inner_life(tx, record, at)


def _move_inner_life(tx: sqlite3.Connection, record: sqlite3.Row, at: float) -> None:
    """What goes on inside the guest goes on inside it on the destination."""
    key = (record["destination"], record["uuid"], record["source"])
    kinds = ",".join(f"'{kind}'" for kind in guests.GUESTS_OWN)
    tx.execute(f"UPDATE schedule SET host = ? WHERE uuid = ? AND host = ? AND kind IN ({kinds})", key)  # noqa: S608
    source = guests.find(tx, record["source"], record["uuid"])
    tx.execute("UPDATE guests SET agent_up = ? WHERE host = ? AND uuid = ?", (source["agent_up"], *key[:2]))
    if source["agent_up"]:
        events.emit(tx, _destination(tx, record), EventKind.AGENT_CONNECTED, at=at)


def _complete(tx: sqlite3.Connection, record: sqlite3.Row, model: Model, at: float) -> None:
    source = guests.find(tx, record["source"], record["uuid"])
    figures = {"success": True} | dataclasses.asdict(progress(model))
    events.emit(tx, source, EventKind.JOB_COMPLETED, at=at, data=figures)
    keeps = source["persistent"] and not json.loads(record["notes"])["persistent"]
    _end(tx, record, model, COMPLETED, "")
    if keeps:
        guests.set_state(tx, source, PowerState.SHUT_OFF, StateReason.MIGRATED, at)
        tx.execute("UPDATE guests SET agent_up = 0 WHERE host = ? AND uuid = ?", (source["host"], source["uuid"]))
    else:
        guests.remove(tx, source)
    events.emit(tx, source, EventKind.STOPPED, at=at, detail="migrated")
    if source["persistent"] and not keeps:
        events.emit(tx, source, EventKind.UNDEFINED, at=at, detail="removed")


def _undo(tx: sqlite3.Connection, record: sqlite3.Row, model: Model, at: float, end: str, message: str) -> None:
    """The destination is cleared away and the source runs on."""
    notes = json.loads(_record(tx, record["id"])["notes"])
    _end(tx, record, model, end, message)
    destination = guests.look(tx, record["destination"], record["uuid"])
    if destination is not None and guests.is_active(destination):
        guests.remove(tx, destination)
        events.emit(tx, destination, EventKind.STOPPED, at=at, detail="failed")
        if notes["replaced"]:
            guests.insert(tx, notes["replaced"])
    source = guests.look(tx, record["source"], record["uuid"])
    if source is None or source["reason"] != StateReason.MIGRATION:
        return
    if notes["state"] == PowerState.RUNNING:
        guests.set_state(tx, source, PowerState.RUNNING, StateReason.MIGRATION_CANCELED, at)
        events.emit(tx, source, EventKind.RESUMED, at=at, detail="unpaused")
    else:
        guests.set_state(tx, source, PowerState(notes["state"]), StateReason(notes["reason"]), at)


def _break_postcopy(tx: sqlite3.Connection, record: sqlite3.Row, model: Model, at: float) -> None:
    """Each side has a part of the guest's memory; neither may be destroyed."""
    broken = dataclasses.replace(model, phase=Phase.POSTCOPY_FAILED)
    _end(tx, record, broken, FAILED, "The post-copy phase broke off; each host holds a part of the guest's memory.")
    source = guests.look(tx, record["source"], record["uuid"])
    if source is not None and guests.is_active(source):
        guests.set_state(tx, source, PowerState.PAUSED, StateReason.POSTCOPY_FAILED, at)
        events.emit(tx, source, EventKind.SUSPENDED, at=at, detail="postcopy_failed")
    destination = guests.look(tx, record["destination"], record["uuid"])
    if destination is not None and guests.is_active(destination):
        guests.set_state(tx, destination, PowerState.RUNNING, StateReason.POSTCOPY_FAILED, at)
        events.emit(tx, destination, EventKind.RESUMED, at=at, detail="postcopy_failed")


def _leave_unconfirmed(tx: sqlite3.Connection, record: sqlite3.Row, model: Model) -> None:
    """The source's daemon dies before it hears that the destination runs: both sides stay as they are."""
    _end(tx, record, model, FAILED, "The source's daemon died before it heard of the destination.")
    faults.break_connections(tx, record["source"])


def _end(tx: sqlite3.Connection, record: sqlite3.Row, model: Model, end: str, message: str) -> None:
    schedule.cancel(tx, record["source"], record["uuid"], "migration")
    tx.execute(
        "UPDATE migrations SET model = ?, outcome = ?, message = ? WHERE id = ?",
        (_dumps(model), end, message, record["id"]),
    )
    tx.execute(
        "UPDATE guests SET job = '' WHERE uuid = ? AND host IN (?, ?)",
        (record["uuid"], record["source"], record["destination"]),
    )


def _model(
    tx: sqlite3.Connection, guest: sqlite3.Row, destination: str, spec: MigrationSpec, notes: dict[str, Any]
) -> Model:
    config = Config.loads(guest["config"])
    sql = "SELECT min(link_mib) FROM hosts WHERE name IN (?, ?)"
    link: float = tx.execute(sql, (guest["host"], destination)).fetchone()[0]
    total = guest["memory_mib"] * MIB
    resident = round(total * config.resident_part)
    where = (guest["host"], guest["uuid"])
    stubborn = faults.take(tx, Fault.MIGRATION_NEVER_CONVERGES, *where) is not None
    failure = faults.take(tx, Fault.MIGRATION_FAILS, *where)
    if failure is None and (failure := faults.take(tx, Fault.MIGRATION_DESTINATION_DIES, *where)):
        notes["destination_dies"] = True
    runs = guest["state"] == PowerState.RUNNING
    return Model(
        total_bytes=total,
        resident_bytes=resident,
        hot_bytes=resident if stubborn else min(resident, round(config.hot_mib * MIB)),
        dirty_bps=(20 * link if stubborn else config.dirty_mib) * MIB if runs else 0.0,
        link_bps=link * MIB,
        bandwidth_cap_bps=spec.bandwidth_mib * MIB,
        max_downtime_ms=spec.max_downtime_ms,
        auto_converge=spec.auto_converge,
        throttle_ignored=stubborn,
        fail_at_percent=failure.value if failure else None,
        postcopy_breaks=spec.allow_postcopy and faults.take(tx, Fault.POSTCOPY_FAILS, *where) is not None,
    )


def _plan_next(tx: sqlite3.Connection, record: sqlite3.Row, model: Model) -> None:
    due = record["started"] + next_due(model) / record["speed"]
    schedule.put(tx, due, "migration", record["source"], record["uuid"], str(record["id"]))


def _name_is_taken(tx: sqlite3.Connection, record: sqlite3.Row, name: str) -> bool:
    sql = "SELECT 1 FROM guests WHERE host = ? AND name = ? AND uuid <> ?"
    return tx.execute(sql, (record["destination"], name, record["uuid"])).fetchone() is not None


def _record(tx: sqlite3.Connection, number: int) -> sqlite3.Row:
    row: sqlite3.Row = tx.execute("SELECT * FROM migrations WHERE id = ?", (number,)).fetchone()
    return row


def _destination(tx: sqlite3.Connection, record: sqlite3.Row) -> sqlite3.Row:
    return guests.find(tx, record["destination"], record["uuid"])


def _dumps(model: Model) -> str:
    return json.dumps(dataclasses.asdict(model))


def _loads(text: str) -> Model:
    data = json.loads(text)
    data["phase"] = Phase(data["phase"])
    return Model(**data)
