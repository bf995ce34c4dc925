"""Furnishing the simulated estate: hosts and guests, a few by hand or thousands from a seed.

All times in the estate are real ones, so an estate can be left alone and picked up later.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid as uuids
from collections.abc import Sequence

from hypervisor.errors import GuestExists, HypervisorError
from hypervisor.simulated_driver import events, guests, machine, migration, schedule
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.machine import Upgrade
from hypervisor.simulated_driver.nursery import GuestPlan as GuestPlan
from hypervisor.simulated_driver.nursery import SimulatedHost as SimulatedHost
from hypervisor.simulated_driver.nursery import plan_guests
from hypervisor.simulated_driver.store import open_store
from hypervisor.types import EventKind, PowerState, StateReason

_TABLES = (
    "guests",
    "hosts",
    "snapshots",
    "images",
    "machines",
    "replies",
    "migrations",
    "volumes",
    "schedule",
    "events",
    "faults",
)


def create_hosts(hosts: Sequence[SimulatedHost]) -> None:
    """Add hosts. Raises HypervisorError if a name is taken."""
    rows = [
        (
            host.name,
            host.cluster,
            str(uuids.uuid5(uuids.NAMESPACE_URL, host.uri)),
            host.cpus,
            host.memory_mib,
            host.cpu_model,
            host.link_mib,
            json.dumps(host.networks),
            time.time_ns(),  # so that no connection to an earlier host of that name comes to life again
        )
        for host in hosts
    ]
    columns = "name, cluster, uuid, cpus, memory_mib, cpu_model, link_mib, networks, epoch"
    try:
        with open_store().change() as tx:
            tx.executemany(f"INSERT INTO hosts ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", rows)  # noqa: S608
    except sqlite3.IntegrityError as error:
        raise HypervisorError("The estate has a host of that name already.") from error


def create_guests(plans: Sequence[GuestPlan]) -> None:
    """Add guests, in one transaction. Raises GuestExists if a name or UUID is taken, or a host is not there."""
    rows = [
        (
            plan.host,
            plan.uuid,
            plan.name,
            (PowerState.RUNNING if plan.running else PowerState.SHUT_OFF).value,
            (StateReason.BOOTED if plan.running else StateReason.SHUTDOWN).value,
            plan.memory_mib,
            plan.vcpus,
            int(plan.running and plan.config.agent_channel),
            str(uuids.uuid5(uuids.UUID(plan.uuid), "first boot")) if plan.running else "",
            0.0 if plan.running else None,
            plan.config.dumps(),
        )
        for plan in plans
    ]
    columns = "host, uuid, name, state, reason, memory_mib, vcpus, agent_up, boot, running_since, config"
    try:
        with open_store().change() as tx:
            tx.executemany(f"INSERT INTO guests ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)  # noqa: S608
            tx.execute("UPDATE guests SET running_since = unixepoch() WHERE running_since = 0")
    except sqlite3.IntegrityError as error:
        raise GuestExists(f"The guests could not be added: {error}.") from error


def create_guest(
    host: str,
    name: str,
    *,
    running: bool = True,
    uuid: str = "",
    memory_mib: int = 1024,
    vcpus: int = 1,
    config: Config | None = None,
) -> str:
    """Add one guest; returns its UUID. Without a configuration that says otherwise it has one qcow2 disk."""
    plan = GuestPlan.of(host, name, running=running, uuid=uuid, config=config, memory_mib=memory_mib, vcpus=vcpus)
    create_guests([plan])
    return plan.uuid


def populate(hosts: Sequence[SimulatedHost], guests_wanted: int, *, seed: int = 1) -> list[GuestPlan]:
    """Add hosts and that many guests on them, named and sized as teams have them; the same seed gives the same."""
    plans = plan_guests(hosts, guests_wanted, seed=seed)
    create_hosts(hosts)
    create_guests(plans)
    return plans


def ensure_default_estate() -> None:
    """An estate to look at, if there is none yet: four hosts in two clusters, 24 guests of three teams, some off."""
    db = open_store().connection()
    if db.execute("SELECT 1 FROM hosts LIMIT 1").fetchone():
        return
    networks = ("accounting-net", "engineering-net", "sales-net")
    hosts = [
        SimulatedHost(f"sim-{letter}", cluster, memory_mib=96 * 1024, link_mib=250.0, networks=networks)
        for letter, cluster in (("a", "east"), ("b", "east"), ("c", "west"), ("d", "west"))
    ]
    try:
        populate(hosts, 24, seed=12)
    except HypervisorError:  # another process was quicker
        return


def wipe() -> None:
    """Remove everything; open connections break."""
    with open_store().change() as tx:
        for table in _TABLES:
            tx.execute(f"DELETE FROM {table}")  # noqa: S608


def host_names(cluster: str = "") -> list[str]:
    """The names of all hosts, or of a cluster's."""
    rows = (
        open_store().connection().execute("SELECT name FROM hosts WHERE ? IN ('', cluster) ORDER BY name", (cluster,))
    )
    return [row["name"] for row in rows]


def clusters_of_hosts() -> list[tuple[str, str]]:
    """Every host's name and its cluster's, in order."""
    rows = open_store().connection().execute("SELECT name, cluster FROM hosts ORDER BY name")
    return [(row["name"], row["cluster"]) for row in rows]


def set_state(host: str, uuid: str, state: PowerState, reason: StateReason) -> None:
    """Put a guest into a state without a cause, as one finds it after an accident. Raises GuestNotFound."""
    with open_store().change() as tx:
        schedule.settle_in(tx)
        guests.set_state(tx, guests.find(tx, host, uuid), state, reason, time.time())


def copy_guest(uuid: str, source: str, target: str, state: PowerState, reason: StateReason) -> None:
    """The same guest on another host too: what a migration left behind, or a split brain. Raises GuestNotFound."""
    with open_store().change() as tx:
        schedule.settle_in(tx)
        guest = guests.find(tx, source, uuid)
        values = dict(zip(guest.keys(), guest, strict=True))
        values |= {"host": target, "state": state.value, "reason": reason.value, "job": ""}
        guests.insert(tx, values)


def remove_guest(host: str, uuid: str) -> None:
    """The host forgets a guest, whatever it was doing, as if somebody had destroyed and undefined it."""
    with open_store().change() as tx:
        schedule.settle_in(tx)
        migration.guest_gone(tx, guests.find(tx, host, uuid), time.time())
        guest = guests.look(tx, host, uuid)
        if guest is not None:
            schedule.cancel(tx, host, uuid)
            guests.remove(tx, guest)
            events.emit(tx, guest, EventKind.UNDEFINED, at=time.time(), detail="removed")


def offer_upgrade(uuid: str, package: str, upgrade: Upgrade) -> None:
    """Offer a version of a package in a guest's repository; its next `apt-get update` sees it."""
    with open_store().change() as tx:
        guest = tx.execute("SELECT * FROM guests WHERE uuid = ? LIMIT 1", (uuid,)).fetchone()
        inside = machine.load(tx, guest)
        inside.repository[package] = upgrade
        machine.save(tx, guest, inside)


def script_reply(
    pattern: str, *, uuid: str = "", exit_code: int = 0, stdout: bytes = b"", stderr: bytes = b"", seconds: float = 0.0
) -> None:
    """Write the reply to command lines that match a shell pattern, in one guest or (`uuid` "") in all.

    The command line is matched as `shlex.join` writes it. The newest reply that matches counts.
    """
    with open_store().change() as tx:
        tx.execute(
            "INSERT INTO replies (uuid, pattern, exit_code, stdout, stderr, seconds) VALUES (?,?,?,?,?,?)",
            (uuid, pattern, exit_code, stdout, stderr, seconds),
        )
