"""Live migration from a simulated host, as its callers see it."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from posixpath import basename

from hypervisor.errors import GuestExists, GuestStateInvalid, MigrationAborted, MigrationFailed, MigrationRefused
from hypervisor.simulated_driver import events, faults, guests, migration
from hypervisor.simulated_driver.definition import Config, lacks_of, needs_of
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.guests import Job
from hypervisor.simulated_driver.model import (
    Model,
    Phase,
    can_abort,
    progress,
    with_abort,
    with_bandwidth_cap,
    with_max_downtime,
    with_postcopy,
)
from hypervisor.simulated_driver.session import Session, must_be_active
from hypervisor.simulated_driver.store import speed
from hypervisor.types import (
    CANARY_MIB,
    Activity,
    EventKind,
    MigrationProgress,
    MigrationSpec,
    PowerState,
    StateReason,
    canary_name,
)

_URI = re.compile(r"sim://([a-z0-9.-]+)/?\Z", re.ASCII)
#: QEMU's.
LONGEST_DOWNTIME_MS = 2_000_000
#: What may be migrated: libvirt refuses a guest that waits for its disk or for another job.
_MOVABLE = (PowerState.RUNNING, PowerState.PAUSED)
_HANDED_OVER = (StateReason.MIGRATION, StateReason.POSTCOPY, StateReason.POSTCOPY_FAILED)


class Migrating(Session):
    """The protocol's migration part, called on the source."""

    def migrate(self, uuid: str, destination_uri: str, spec: MigrationSpec) -> None:
        """Migrate and wait for the end, which comes without this process too.

        Raises MigrationRefused, MigrationAborted, MigrationFailed, HostUnreachable, GuestNotFound.
        """
        with self.change() as tx:
            guest = guests.find(tx, self.host, uuid)
            number = _started(tx, guest, destination_uri, spec)
        if number is None:
            raise MigrationRefused(f"The host {self.host} would not migrate {guest['name']}.")
        self.wait_until(lambda db: migration.outcome(db, number)[0] != migration.RUNS)
        end, message = migration.outcome(self.store.connection(), number)
        if end == migration.ABORTED:
            raise MigrationAborted(message)
        if end == migration.FAILED:
            raise MigrationFailed(message)

    def canary_start(self, uuid: str) -> None:
        """Start a canary. Raises GuestExists."""
        with self.change() as tx:
            if guests.look(tx, self.host, uuid) is not None:
                raise GuestExists(f"{self.host} has a guest {uuid} already.")
            guests.insert(
                tx,
                {
                    "host": self.host,
                    "uuid": uuid,
                    "name": canary_name(uuid),
                    "state": PowerState.PAUSED.value,
                    "reason": StateReason.USER.value,
                    "memory_mib": CANARY_MIB,
                    "vcpus": 1,
                    "persistent": 0,
                    "config": Config(agent_channel=False).dumps(),
                },
            )
            guest = guests.find(tx, self.host, uuid)
            for kind in (EventKind.STARTED, EventKind.SUSPENDED):
                events.emit(tx, guest, kind, at=time.time(), detail="canary")

    def dirty_rate(self, uuid: str, *, seconds: int = 1) -> int:
        """How much memory a guest writes, in bytes per second: what its own definition says. Raises GuestNotFound,
        GuestStateInvalid for a guest that is off.
        """
        with self.look() as db:
            guest = guests.find(db, self.host, uuid)
            must_be_active(guest)
        time.sleep(seconds / speed())
        runs = guest["state"] == PowerState.RUNNING
        return round(Config.loads(guest["config"]).dirty_mib * migration.MIB) if runs else 0

    def migration_progress(self, uuid: str) -> MigrationProgress:
        """Progress of an outgoing migration; activity NONE when there is none. Raises GuestNotFound."""
        with self.look() as db:
            guests.find(db, self.host, uuid)
            record = migration.active(db, self.host, uuid)
        return progress(migration.model_now(record)) if record else MigrationProgress(activity=Activity.NONE)

    def completed_migration(self, uuid: str) -> MigrationProgress | None:
        """Figures of the last completed migration to this host, if it was pre-copy. Raises GuestNotFound."""
        with self.look() as db:
            guests.find(db, self.host, uuid)
            return migration.completed(db, self.host, uuid)

    def migration_abort(self, uuid: str) -> None:
        """Ask to cancel. Raises GuestStateInvalid when there is none, or it is past the point."""
        with self.change() as tx:
            record, model = self._running(tx, uuid)
            if not can_abort(model):
                raise GuestStateInvalid("The migration is past the point where it can be cancelled.")
            migration.change_model(tx, record, with_abort(model))

    def migration_set_downtime(self, uuid: str, milliseconds: int) -> None:
        """Set the downtime limit of the running migration; the next one brings its own.

        Raises GuestStateInvalid for a guest that is off, or a limit that QEMU would not take.
        """
        if not 1 <= milliseconds <= LONGEST_DOWNTIME_MS:
            raise GuestStateInvalid(f"The downtime limit is between 1 and {LONGEST_DOWNTIME_MS} ms.")
        self._adjust(uuid, lambda model: with_max_downtime(model, milliseconds))

    def migration_set_bandwidth(self, uuid: str, mib_per_second: int) -> None:
        """Cap the bandwidth of the running migration; 0 lifts the cap. Raises GuestStateInvalid likewise."""
        if mib_per_second < 0:
            raise GuestStateInvalid("The bandwidth is not below 0.")
        self._adjust(uuid, lambda model: with_bandwidth_cap(model, mib_per_second * migration.MIB))

    def migration_start_postcopy(self, uuid: str) -> None:
        """Switch to post-copy. Raises GuestStateInvalid unless it was allowed at the start and can still be done."""
        with self.change() as tx:
            record, model = self._running(tx, uuid)
            if not json.loads(record["notes"])["allow_postcopy"]:
                raise GuestStateInvalid("This migration was not started so that it may switch to post-copy.")
            if model.phase is Phase.POSTCOPY or model.postcopy_at is not None:
                return
            if model.phase not in (Phase.SETUP, Phase.PRECOPY):
                raise GuestStateInvalid("The guest is switching to the destination already.")
            migration.change_model(tx, record, with_postcopy(model))

    def _adjust(self, uuid: str, change: Callable[[Model], Model]) -> None:
        with self.change() as tx:
            must_be_active(guests.find(tx, self.host, uuid))
            record = migration.active(tx, self.host, uuid)
            if record is not None:
                migration.change_model(tx, record, change(migration.model_now(record)))

    def _running(self, tx: sqlite3.Connection, uuid: str) -> tuple[sqlite3.Row, Model]:
        guest = guests.find(tx, self.host, uuid)
        record = migration.active(tx, self.host, uuid)
        if record is None:
            raise GuestStateInvalid(f"{guest['name']} is not being migrated from {self.host}.")
        return record, migration.model_now(record)


def _started(tx: sqlite3.Connection, guest: sqlite3.Row, destination_uri: str, spec: MigrationSpec) -> int | None:
    """The number of the migration that was begun, or goes on; None when it is refused. Raises MigrationRefused."""
    if faults.take(tx, Fault.MIGRATION_REFUSED, guest["host"], guest["uuid"]) is not None:
        return None
    destination = _destination(tx, guest["host"], destination_uri)
    if spec.resume:
        return migration.resume(tx, guest, destination)
    _check_guest(tx, guest)
    _check_destination(tx, guest, destination, spec)
    return migration.begin(tx, guest, destination, spec)


def _destination(tx: sqlite3.Connection, source: str, uri: str) -> str:
    """The destination's name, if the source's host can reach it."""
    match = _URI.match(uri)
    name = match[1] if match else ""
    if not tx.execute("SELECT 1 FROM hosts WHERE name = ?", (name,)).fetchone():
        raise MigrationRefused(f"The host {source} does not know the destination {uri!r}.")
    if name == source:
        raise MigrationRefused("The destination is the source.")
    for fault in (Fault.HOST_DOWN, Fault.HOST_HUNG):
        if faults.lasting(tx, fault, name):
            raise MigrationRefused(f"The host {source} cannot reach {name}.")
    return name


def _check_guest(tx: sqlite3.Connection, guest: sqlite3.Row) -> None:
    """libvirt's own rules on the source."""
    if guest["job"] in (Job.MIGRATION_OUT, Job.MIGRATION_IN):
        raise MigrationRefused(f"Another migration of {guest['name']} is already running.")
    if guest["job"]:
        raise MigrationRefused(f"The host is working on {guest['name']}: {guest['job']}.")
    if guest["state"] not in _MOVABLE:
        raise MigrationRefused(f"{guest['name']} is not running.")
    if guest["reason"] in _HANDED_OVER:
        raise MigrationRefused(f"{guest['name']} is left over from a migration on this host.")
    held = tx.execute(
        "SELECT count(*) FROM snapshots WHERE host = ? AND uuid = ?", (guest["host"], guest["uuid"])
    ).fetchone()[0]
    if held:
        raise MigrationRefused(f"Cannot migrate {guest['name']} with {held} snapshots.")
    config = Config.loads(guest["config"])
    if config.hostdevs or config.filesystems:
        raise MigrationRefused(f"{guest['name']} uses devices of its host.")


def _check_destination(tx: sqlite3.Connection, guest: sqlite3.Row, destination: str, spec: MigrationSpec) -> None:
    """What the destination finds when it prepares to take the guest in."""
    there = guests.look(tx, destination, guest["uuid"])
    if there is not None and guests.is_active(there):
        raise MigrationRefused(f"{guest['name']} is active on {destination} too.")
    namesake = tx.execute(
        "SELECT uuid FROM guests WHERE host = ? AND name = ? AND uuid <> ?", (destination, guest["name"], guest["uuid"])
    ).fetchone()
    if namesake:
        raise MigrationRefused(f"{destination} has another guest named {guest['name']}, {namesake['uuid']}.")
    hosts = {
        row["name"]: row
        for row in tx.execute("SELECT * FROM hosts WHERE name IN (?, ?)", (guest["host"], destination)).fetchall()
    }
    there = hosts[destination]["cluster"]
    volumes = {row["name"] for row in tx.execute("SELECT name FROM volumes WHERE cluster = ?", (there,)).fetchall()}
    for disk in Config.loads(guest["config"]).disks:
        if disk.target in spec.copied and basename(disk.source) not in volumes:
            raise MigrationRefused(f"{destination} has no volume for {disk.target} of {guest['name']}.")
        if disk.target not in spec.copied and hosts[guest["host"]]["cluster"] != there:
            raise MigrationRefused(f"{destination} does not see the disks of {guest['name']}.")
    lacks = lacks_of(set(json.loads(hosts[destination]["networks"])), needs_of(guest))
    if lacks.networks or lacks.filters:
        raise MigrationRefused(f"{destination} has no network {', '.join(lacks.networks + lacks.filters)}.")
    if lacks.machine:
        raise MigrationRefused(lacks.machine)
    off = (PowerState.SHUT_OFF.value, PowerState.CRASHED.value)
    used = tx.execute(
        "SELECT coalesce(sum(memory_mib), 0) FROM guests WHERE host = ? AND state NOT IN (?, ?)", (destination, *off)
    ).fetchone()[0]
    if used + guest["memory_mib"] > hosts[destination]["memory_mib"]:
        raise MigrationRefused(f"{destination} has no memory for {guest['name']}.")
