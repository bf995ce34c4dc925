"""Reading a simulated host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection

from hypervisor.errors import GuestBusy
from hypervisor.simulated_driver import faults, guests, snapshots
from hypervisor.simulated_driver.definition import Config, definition_of, lacks_of, needs_of
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.guests import Job
from hypervisor.simulated_driver.session import Session
from hypervisor.simulated_driver.watching import Watch
from hypervisor.types import (
    LIFECYCLE,
    NIC,
    Activity,
    EventKind,
    GuestDefinition,
    GuestEvent,
    GuestNeeds,
    GuestState,
    HostFacts,
    HostIdentity,
    HostLacks,
    PowerState,
    SnapshotInfo,
    StateReason,
)

_VERSION = (1, 0, 0)
_STATES = {state.value: state for state in PowerState}
_REASONS = {reason.value: reason for reason in StateReason}


class Observing(Session):
    """The protocol's reading part."""

    def identify_host(self) -> HostIdentity:
        """The host's identity."""
        return self.describe_host()

    def describe_host(self) -> HostFacts:
        """The host's identity and size; free memory is what no active guest has."""
        with self.look() as db:
            host = db.execute("SELECT * FROM hosts WHERE name = ?", (self.host,)).fetchone()
            off = (PowerState.SHUT_OFF.value, PowerState.CRASHED.value)
            used = db.execute(
                "SELECT coalesce(sum(memory_mib), 0) FROM guests WHERE host = ? AND state NOT IN (?, ?)",
                (self.host, *off),
            ).fetchone()[0]
        return HostFacts(
            hostname=host["name"],
            host_uuid=host["uuid"],
            cpus=host["cpus"],
            memory_mib=host["memory_mib"],
            memory_free_mib=max(0, host["memory_mib"] - used),
            cpu_model=host["cpu_model"],
            hypervisor="simulated",
            hypervisor_version=_VERSION,
            library_version=_VERSION,
        )

    def list_guests(self) -> list[GuestState]:
        """All guests, by one query."""
        with self.look() as db:
            slow = faults.lasting(db, Fault.LIST_SLOW, self.host)
        if slow:
            self.pause(slow.value)
        with self.look() as db:
            rows = db.cursor()
            rows.row_factory = None
            columns = "uuid, name, state, reason, memory_mib, vcpus, persistent"
            rows.execute(f"SELECT {columns} FROM guests WHERE host = ?", (self.host,))  # noqa: S608
            return [
                GuestState(uuid, name, _STATES[state], _REASONS[reason], memory_mib, vcpus, bool(persistent))
                for uuid, name, state, reason, memory_mib, vcpus, persistent in rows
            ]

    def guest_state(self, uuid: str) -> GuestState:
        """One guest's state. Raises GuestNotFound."""
        with self.look() as db:
            return guests.state_of(guests.find(db, self.host, uuid))

    def guest_definition(self, uuid: str) -> GuestDefinition:
        """One guest's definition. Raises GuestNotFound."""
        with self.look() as db:
            return definition_of(guests.find(db, self.host, uuid))

    def list_snapshots(self, uuid: str) -> list[SnapshotInfo]:
        """A guest's snapshots, parents first. Raises GuestNotFound."""
        with self.look() as db:
            guests.find(db, self.host, uuid)
            return [snapshots.info_of(row) for row in snapshots.tree(db, self.host, uuid)]

    def list_networks(self) -> list[str]:
        """Names of the host's networks."""
        with self.look() as db:
            row = db.execute("SELECT networks FROM hosts WHERE name = ?", (self.host,)).fetchone()
        return list(json.loads(row["networks"]))

    def missing_networks(self, nics: Collection[NIC]) -> list[str]:
        """Those networks of these NICs that are none of the host's."""
        return sorted({nic.source for nic in nics if nic.source} - set(self.list_networks()))

    def guest_needs(self, uuid: str) -> GuestNeeds:
        """What the guest needs of another host. Raises GuestNotFound."""
        with self.look() as db:
            return needs_of(guests.find(db, self.host, uuid))

    def missing_for(self, needs: GuestNeeds) -> HostLacks:
        """What of this the host has not."""
        return lacks_of(set(self.list_networks()), needs)

    def activity(self, uuid: str) -> Activity:
        """What the host does to the guest. Raises GuestNotFound; GuestBusy while it takes or reverts to a snapshot."""
        with self.look() as db:
            guest = guests.find(db, self.host, uuid)
        if guest["job"] in (Job.SNAPSHOT, Job.REVERT):
            raise GuestBusy(f"The host {self.host} is working on {guest['name']}: {guest['job']}.")
        return Activity(guest["job"]) if guest["job"] else Activity.NONE

    def pulse(self, uuid: str) -> int:
        """The CPU time that the guest has used. Raises GuestNotFound."""
        with self.look() as db:
            return guests.cpu_ns(guests.find(db, self.host, uuid), time.time())

    def cpu_times_ns(self) -> dict[str, int]:
        """CPU time that each running guest has used, by one query."""
        with self.look() as db:
            rows = db.execute(
                "SELECT * FROM guests WHERE host = ? AND state = ?", (self.host, PowerState.RUNNING.value)
            ).fetchall()
        now = time.time()
        return {row["uuid"]: guests.cpu_ns(row, now) for row in rows}

    def disk_errors(self, uuid: str) -> list[str]:
        """The guest's first disk, while that fault is planted. Raises GuestNotFound."""
        with self.look() as db:
            guest = guests.find(db, self.host, uuid)
            if not faults.lasting(db, Fault.DISK_ERROR, self.host, uuid):
                return []
            return [disk.target for disk in Config.loads(guest["config"]).disks[:1]]

    def watch(
        self, on_event: Callable[[GuestEvent], None], on_close: Callable[[str], None], *, lifecycle_only: bool = False
    ) -> Watch:
        """Deliver this host's events from a thread of this process."""
        return Watch(self, on_event, on_close, LIFECYCLE if lifecycle_only else frozenset(EventKind))
