"""Taking snapshots of simulated guests, reverting to them, deleting them, and moving their metadata."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypervisor.errors import GuestStateInvalid, NotSupported, SnapshotExists, SnapshotFailed, SnapshotNotFound
from hypervisor.names import snapshot_name_problem
from hypervisor.simulated_driver import events, faults, guests, machine, schedule, snapshots
from hypervisor.simulated_driver.definition import Config, domain_xml, parse_domain
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.guests import Job
from hypervisor.simulated_driver.session import Session
from hypervisor.types import EventKind, PowerState, SavedSnapshot, SnapshotInfo, SnapshotKind, StateReason

OFF_SECONDS = 0.05
SAVE_SECONDS = 0.2
#: Memory written a second, MiB: what a local disk took.
SAVE_MIB = 320.0
REVERT_SECONDS = 1.0
#: What XML cannot hold.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Snapshotting(Session):
    """The protocol's snapshot part."""

    def snapshot_create(self, uuid: str, name: str, description: str) -> SnapshotInfo:
        """Take one; the guest stands still meanwhile. Raises SnapshotExists, SnapshotFailed, NotSupported."""
        description = _check_words(name, description)
        with self.change_guest(uuid) as (tx, guest):
            if snapshots.get(tx, self.host, uuid, name):
                raise SnapshotExists(f"{guest['name']} has a snapshot {name} already.")
            if guest["state"] == PowerState.SUSPENDED:
                raise GuestStateInvalid(f"{guest['name']} sleeps; a snapshot cannot be taken of it.")
            plan = {
                "name": name,
                "description": description,
                "state": guest["state"],
                "reason": guest["reason"],
                "disks": _disks_to_hold(guest),
                "domain": domain_xml(guest, as_it_runs=True),
                "fails": faults.take(tx, Fault.SNAPSHOT_CREATE_FAILS, self.host, uuid) is not None,
                "stuck": faults.take(tx, Fault.SNAPSHOT_STUCK, self.host, uuid) is not None,
            }
            _start_saving(tx, guest, plan)
        self.wait_until(lambda db: guests.find(db, self.host, uuid)["job"] != Job.SNAPSHOT)
        with self.look() as db:
            row = snapshots.get(db, self.host, uuid, name)
        if row is None:
            raise SnapshotFailed(f"The snapshot {name} of {guest['name']} could not be written.")
        return snapshots.info_of(row)

    def snapshot_revert(self, uuid: str, name: str, *, running: bool | None = None) -> None:
        """Go back to it; `running` None: as the snapshot was, False: paused if it holds memory, else off.

        Raises SnapshotNotFound, SnapshotFailed (the guest is off then).
        """
        with self.change_guest(uuid) as (tx, guest):
            _must_have(tx, guest, name)
            if not guest["persistent"]:
                raise SnapshotFailed(f"{guest['name']} is transient, it cannot be reverted.")
            fails = faults.take(tx, Fault.SNAPSHOT_REVERT_FAILS, self.host, uuid) is not None
            now = time.time()
            if guests.is_active(guest):
                guests.power_off(tx, guest, StateReason.FROM_SNAPSHOT, now)
            guests.set_job(tx, guest, Job.REVERT)
            plan = {"name": name, "running": running, "fails": fails}
            schedule.put_in(tx, now, REVERT_SECONDS, "revert_done", guest, json.dumps(plan))
        self.wait_until(lambda db: guests.find(db, self.host, uuid)["job"] != Job.REVERT)
        with self.look() as db:
            reason = guests.find(db, self.host, uuid)["reason"]
        if reason == StateReason.FAILED:
            raise SnapshotFailed(f"{guest['name']} could not be reverted to {name}; it is off.")

    def snapshot_delete(self, uuid: str, name: str) -> None:
        """Delete metadata and image; children move up. Raises SnapshotNotFound, SnapshotFailed."""
        with self.change_guest(uuid) as (tx, guest):
            row = _must_have(tx, guest, name)
            fails = faults.take(tx, Fault.SNAPSHOT_DELETE_FAILS, self.host, uuid) is not None
            if not fails:
                snapshots.drop(tx, row)
                tx.execute("DELETE FROM images WHERE uuid = ? AND tag = ?", (uuid, name))
        if fails:
            raise SnapshotFailed(f"The snapshot {name} of {guest['name']} could not be deleted.")

    def snapshots_export(self, uuid: str) -> list[SavedSnapshot]:
        """All metadata, parents first. Raises GuestNotFound."""
        with self.look() as db:
            guests.find(db, self.host, uuid)
            return [snapshots.saved(row) for row in snapshots.tree(db, self.host, uuid)]

    def snapshots_forget(self, uuid: str, names: Sequence[str]) -> None:
        """Drop metadata only, children first; names that are gone are passed over."""
        with self.change_guest(uuid) as (tx, _guest):
            for row in reversed(snapshots.tree(tx, self.host, uuid)):
                if row["name"] in names:
                    snapshots.drop(tx, row)

    def snapshots_restore(self, uuid: str, saved: Sequence[SavedSnapshot]) -> None:
        """Put metadata back; what is there already is passed over. Raises SnapshotFailed for what cannot be read."""
        loaded = [snapshots.load(uuid, snapshot) for snapshot in snapshots.parents_first(saved)]
        with self.change_guest(uuid) as (tx, _guest):
            for info, domain in loaded:
                if not snapshots.get(tx, self.host, uuid, info.name):
                    if info.parent and not snapshots.get(tx, self.host, uuid, info.parent):
                        raise SnapshotFailed(f"The parent {info.parent} of the snapshot {info.name} is not there.")
                    snapshots.add(tx, self.host, uuid, info, domain)
                if info.is_current:
                    snapshots.make_current(tx, self.host, uuid, info.name)


def _check_words(name: str, description: str) -> str:
    """The description as XML gives it back. Raises SnapshotFailed for words that cannot be kept."""
    if problem := snapshot_name_problem(name):
        raise SnapshotFailed(problem)
    if _CONTROL.search(description):
        raise SnapshotFailed("The snapshot's description has characters that XML cannot hold.")
    return description.replace("\r\n", "\n").replace("\r", "\n")


def _disks_to_hold(guest: sqlite3.Row) -> list[str]:
    """The targets that an internal snapshot holds. Raises NotSupported where libvirt 9.0 would."""
    config = Config.loads(guest["config"])
    if config.loader:
        raise NotSupported(f"{guest['name']} has UEFI firmware: no internal snapshots.")
    writable = [disk for disk in config.disks if disk.device == "disk" and not disk.read_only]
    if not writable:
        raise NotSupported(f"{guest['name']} has no writable disk that could hold a snapshot.")
    for disk in writable:
        if disk.format != "qcow2":
            raise NotSupported(f"The disk {disk.target} of {guest['name']} is {disk.format}, not qcow2.")
    return [disk.target for disk in writable]


def _must_have(tx: sqlite3.Connection, guest: sqlite3.Row, name: str) -> sqlite3.Row:
    row = snapshots.get(tx, guest["host"], guest["uuid"], name)
    if row is None:
        raise SnapshotNotFound(f"{guest['name']} has no snapshot {name}.")
    return row


def _start_saving(tx: sqlite3.Connection, guest: sqlite3.Row, plan: dict[str, Any]) -> None:
    now, seconds = time.time(), OFF_SECONDS
    if guests.is_active(guest):
        resident_mib = guest["memory_mib"] * Config.loads(guest["config"]).resident_part
        seconds = SAVE_SECONDS + resident_mib / SAVE_MIB
        guests.set_state(tx, guest, PowerState.PAUSED, StateReason.SAVE, now)
        if guest["state"] == PowerState.RUNNING:
            events.emit(tx, guest, EventKind.SUSPENDED, at=now, detail="paused")
    guests.set_job(tx, guest, Job.SNAPSHOT)
    schedule.put_in(tx, now, seconds, "snapshot_done", guest, json.dumps(plan))


@schedule.handles("snapshot_done")
def _saved(tx: sqlite3.Connection, due: sqlite3.Row) -> None:
    guest = guests.look(tx, due["host"], due["uuid"])
    if guest is None:
        return
    plan, at = json.loads(due["data"]), due["due"]
    guests.set_job(tx, guest, None)
    if not plan["fails"]:
        _write_image(tx, guest, plan)
    if plan["stuck"]:  # the daemon is gone: nobody writes the metadata or lets the guest run on
        faults.break_connections(tx, guest["host"])
        return
    if not plan["fails"]:
        _write_metadata(tx, guest, plan, at)
    if plan["state"] == PowerState.RUNNING:
        guests.set_state(tx, guest, PowerState.RUNNING, StateReason.UNPAUSED, at)
        events.emit(tx, guest, EventKind.RESUMED, at=at, detail="unpaused")
    else:
        guests.set_state(tx, guest, PowerState(plan["state"]), StateReason(plan["reason"]), at)


def _write_image(tx: sqlite3.Connection, guest: sqlite3.Row, plan: dict[str, Any]) -> None:
    contents = tx.execute("SELECT contents FROM machines WHERE uuid = ?", (guest["uuid"],)).fetchone()
    tx.execute(
        "INSERT OR REPLACE INTO images (uuid, tag, boot, agent_up, machine) VALUES (?,?,?,?,?)",
        (guest["uuid"], plan["name"], guest["boot"], guest["agent_up"], contents["contents"] if contents else None),
    )


def _write_metadata(tx: sqlite3.Connection, guest: sqlite3.Row, plan: dict[str, Any], at: float) -> None:
    info = SnapshotInfo(
        name=plan["name"],
        description=plan["description"],
        created_at=datetime.fromtimestamp(at, UTC),
        state=PowerState(plan["state"]),
        kind=SnapshotKind.INTERNAL,
        has_memory=plan["state"] != PowerState.SHUT_OFF,
        parent=snapshots.current(tx, guest["host"], guest["uuid"]),
        is_current=True,
        disks=tuple(plan["disks"]),
    )
    snapshots.add(tx, guest["host"], guest["uuid"], info, plan["domain"])


@schedule.handles("revert_done")
def _reverted(tx: sqlite3.Connection, due: sqlite3.Row) -> None:
    guest = guests.look(tx, due["host"], due["uuid"])
    if guest is None:
        return
    plan, at = json.loads(due["data"]), due["due"]
    guests.set_job(tx, guest, None)
    row = snapshots.get(tx, guest["host"], guest["uuid"], plan["name"])
    image = tx.execute("SELECT * FROM images WHERE uuid = ? AND tag = ?", (guest["uuid"], plan["name"])).fetchone()
    if row is None or image is None or plan["fails"] or guests.image_holder(tx, guest):
        guests.set_state(tx, guest, PowerState.SHUT_OFF, StateReason.FAILED, at)
        return
    _load_image(tx, guest, row, image)
    snapshots.make_current(tx, guest["host"], guest["uuid"], plan["name"])
    guest = guests.find(tx, guest["host"], guest["uuid"])
    if row["state"] == PowerState.SHUT_OFF:
        guests.set_state(tx, guest, PowerState.SHUT_OFF, StateReason.FROM_SNAPSHOT, at)
        if plan["running"]:
            guests.power_on(tx, guest, StateReason.FROM_SNAPSHOT, at)
        return
    if image["machine"] is not None:
        inside = machine.load(tx, guest)
        inside.clock_behind += at - row["created_at"]
        machine.save(tx, guest, inside)
    paused = row["state"] == PowerState.PAUSED if plan["running"] is None else not plan["running"]
    _run_on(tx, guest, image, paused=paused, at=at)


def _load_image(tx: sqlite3.Connection, guest: sqlite3.Row, row: sqlite3.Row, image: sqlite3.Row) -> None:
    """The disks' contents and the definition are again what they were; so is what was in the definition's metadata."""
    domain = parse_domain(row["domain"])
    tx.execute(
        "UPDATE guests SET memory_mib = ?, vcpus = ?, operation_id = ?, config = ? WHERE host = ? AND uuid = ?",
        (
            domain.memory_mib,
            domain.vcpus,
            domain.operation_id,
            domain.config.dumps(),
            guest["host"],
            guest["uuid"],
        ),
    )
    tx.execute("DELETE FROM machines WHERE uuid = ?", (guest["uuid"],))
    if image["machine"] is not None:
        tx.execute("INSERT INTO machines (uuid, contents) VALUES (?, ?)", (guest["uuid"], image["machine"]))


def _run_on(tx: sqlite3.Connection, guest: sqlite3.Row, image: sqlite3.Row, *, paused: bool, at: float) -> None:
    """A new QEMU goes on from the memory in the image."""
    guests.power_on(tx, guest, StateReason.FROM_SNAPSHOT, at)
    key = (guest["host"], guest["uuid"])
    tx.execute(
        "UPDATE guests SET boot = ?, agent_up = ? WHERE host = ? AND uuid = ?", (image["boot"], image["agent_up"], *key)
    )
    if image["agent_up"]:
        schedule.cancel(tx, *key, "agent_up")
        events.emit(tx, guest, EventKind.AGENT_CONNECTED, at=at)
    if paused:
        guests.set_state(tx, guests.find(tx, *key), PowerState.PAUSED, StateReason.FROM_SNAPSHOT, at)
        events.emit(tx, guest, EventKind.SUSPENDED, at=at, detail="from_snapshot")
