"""Definitions of simulated guests."""

from __future__ import annotations

import time

from hypervisor.errors import GuestExists, GuestStateInvalid, HypervisorError
from hypervisor.simulated_driver import events, guests
from hypervisor.simulated_driver.definition import parse_domain
from hypervisor.simulated_driver.session import Session
from hypervisor.types import MARK_NAMESPACE, EventKind, PowerState, StateReason


class Defining(Session):
    """The protocol's part about definitions."""

    def mark_operation(self, uuid: str, operation_id: str) -> None:
        """Write the operation's id into the guest's metadata; "" removes it. Waits while the guest is busy."""
        with self.change_guest(uuid) as (tx, guest):
            tx.execute(
                "UPDATE guests SET operation_id = ? WHERE host = ? AND uuid = ?", (operation_id, self.host, uuid)
            )
            events.emit(tx, guest, EventKind.METADATA_CHANGED, at=time.time(), detail=MARK_NAMESPACE)

    def set_autostart(self, uuid: str, enabled: bool) -> None:
        """Set whether the guest starts with its host. Raises GuestStateInvalid for a transient one."""
        with self.change_guest(uuid) as (tx, guest):
            if not guest["persistent"]:
                raise GuestStateInvalid(f"{guest['name']} is transient, it cannot start with its host.")
            tx.execute("UPDATE guests SET autostart = ? WHERE host = ? AND uuid = ?", (int(enabled), self.host, uuid))

    def define(self, xml: str) -> str:
        """Define a guest without starting it.

        Raises GuestExists when its name or its UUID is taken, HypervisorError for XML that is not a domain's.
        """
        domain = parse_domain(xml)
        with self.change() as tx:
            taken = tx.execute(
                "SELECT 1 FROM guests WHERE host = ? AND (name = ? OR uuid = ?)", (self.host, domain.name, domain.uuid)
            ).fetchone()
            if taken:
                raise GuestExists(f"{self.host} has a guest of that name or UUID already.")
            guests.insert(
                tx,
                {
                    "host": self.host,
                    "uuid": domain.uuid,
                    "name": domain.name,
                    "state": PowerState.SHUT_OFF.value,
                    "reason": StateReason.OTHER.value,
                    "memory_mib": domain.memory_mib,
                    "vcpus": domain.vcpus,
                    "operation_id": domain.operation_id,
                    "config": domain.config.dumps(),
                },
            )
            guest = guests.find(tx, self.host, domain.uuid)
            events.emit(tx, guest, EventKind.DEFINED, at=time.time(), detail="added")
        return domain.uuid

    def redefine(self, uuid: str, xml: str) -> None:
        """Define a guest anew. Raises GuestNotFound, GuestStateInvalid, GuestExists, HypervisorError."""
        with self.change_guest(uuid) as (tx, guest):
            domain = parse_domain(xml)
            if domain.uuid != guest["uuid"]:
                raise HypervisorError("The definition is another guest's.")
            if not guest["persistent"]:
                raise GuestStateInvalid(f"{guest['name']} is transient, it has no definition to put right.")
            taken = tx.execute(
                "SELECT 1 FROM guests WHERE host = ? AND name = ? AND uuid != ?", (self.host, domain.name, domain.uuid)
            ).fetchone()
            if taken:
                raise GuestExists(f"{self.host} has a guest of that name already.")
            tx.execute(
                "UPDATE guests SET name = ?, memory_mib = ?, vcpus = ?, config = ? WHERE host = ? AND uuid = ?",
                (domain.name, domain.memory_mib, domain.vcpus, domain.config.dumps(), self.host, uuid),
            )
            events.emit(tx, guest, EventKind.DEFINED, at=time.time(), detail="updated")

    def undefine(self, uuid: str) -> None:
        """Remove the definition and snapshot metadata; a running guest runs on, transient. Disks stay."""
        with self.change_guest(uuid) as (tx, guest):
            if not guest["persistent"]:
                raise GuestStateInvalid(f"{guest['name']} is transient, it has no definition.")
            if guests.is_active(guest):
                tx.execute("DELETE FROM snapshots WHERE host = ? AND uuid = ?", (self.host, uuid))
                tx.execute(
                    "UPDATE guests SET persistent = 0, autostart = 0 WHERE host = ? AND uuid = ?", (self.host, uuid)
                )
            else:
                guests.remove(tx, guest)
            events.emit(tx, guest, EventKind.UNDEFINED, at=time.time(), detail="removed")
