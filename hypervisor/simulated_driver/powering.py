"""Power of simulated guests."""

from __future__ import annotations

import sqlite3
import time

from hypervisor.errors import GuestBusy, GuestStateInvalid, HypervisorError
from hypervisor.simulated_driver import events, faults, guests, migration, schedule
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.guests import Job
from hypervisor.simulated_driver.session import Session, must_be_active
from hypervisor.types import EventKind, PowerState, StateReason

SHUTDOWN_SECONDS = 2.0
REBOOT_SECONDS = 2.0
#: After which a paused guest looks again whether it was asked to shut down.
_PAUSED_SECONDS = 2.0


class Powering(Session):
    """The protocol's power part."""

    def start(self, uuid: str) -> None:
        """Power on. Raises GuestStateInvalid if it is on, HypervisorError if its image is locked by another host."""
        with self.change_guest(uuid) as (tx, guest):
            if guests.is_active(guest):
                raise GuestStateInvalid(f"{guest['name']} is already running.")
            _must_get_image(tx, guest)
            fails = faults.take(tx, Fault.START_FAILS, self.host, uuid)
            if not fails:
                guests.power_on(tx, guest, StateReason.BOOTED, time.time())
        if fails:
            raise HypervisorError(f"{guest['name']} cannot start: QEMU exited.")

    def shutdown(self, uuid: str) -> None:
        """Ask it to shut down; it takes a while. Raises GuestStateInvalid if it is off."""
        with self.change_guest(uuid) as (tx, guest):
            must_be_active(guest)
            if not faults.take(tx, Fault.SHUTDOWN_IGNORED, self.host, uuid):
                schedule.cancel(tx, self.host, uuid, "shutdown")
                schedule.put_in(tx, time.time(), SHUTDOWN_SECONDS, "shutdown", guest)

    def reboot(self, uuid: str) -> None:
        """Ask it to reboot; it takes a while. Raises GuestStateInvalid if it is off."""
        with self.change_guest(uuid) as (tx, guest):
            must_be_active(guest)
            if not faults.take(tx, Fault.SHUTDOWN_IGNORED, self.host, uuid):
                schedule.cancel(tx, self.host, uuid, "rebooted")
                schedule.put_in(tx, time.time(), REBOOT_SECONDS, "rebooted", guest)

    def force_off(self, uuid: str) -> None:
        """Pull the plug, whatever the host is doing to it. Raises GuestStateInvalid if it is off."""
        with self.change() as tx:
            guest = guests.find(tx, self.host, uuid)
            must_be_active(guest)
            turn_off(tx, guest, StateReason.DESTROYED, time.time())

    def resume(self, uuid: str) -> None:
        """Let a paused guest run on. Raises GuestStateInvalid if it is not paused, GuestBusy if a job holds it.

        Raises HypervisorError if its image is locked by another host.
        """
        with self.change() as tx:
            guest = guests.find(tx, self.host, uuid)
            if guest["state"] != PowerState.PAUSED:
                raise GuestStateInvalid(f"{guest['name']} is not paused.")
            if guest["job"]:
                raise GuestBusy(f"The host {self.host} is working on {guest['name']}: {guest['job']}.")
            _must_get_image(tx, guest)
            now = time.time()
            guests.set_state(tx, guest, PowerState.RUNNING, StateReason.UNPAUSED, now)
            events.emit(tx, guest, EventKind.RESUMED, at=now, detail="unpaused")


def turn_off(tx: sqlite3.Connection, guest: sqlite3.Row, reason: StateReason, at: float) -> None:
    """The guest's QEMU ends, and with it what the host was doing to the guest."""
    migration.guest_gone(tx, guest, at)
    guest_now = guests.look(tx, guest["host"], guest["uuid"])
    if guest_now is None:  # it was the incoming side of a migration, which has been cleared away
        return
    if guest_now["job"] in (Job.SNAPSHOT, Job.REVERT):
        schedule.cancel(tx, guest["host"], guest["uuid"], "snapshot_done", "revert_done")
    if guests.is_active(guest_now):
        guests.power_off(tx, guest_now, reason, at)


def _must_get_image(tx: sqlite3.Connection, guest: sqlite3.Row) -> None:
    if holder := guests.image_holder(tx, guest):
        raise HypervisorError(f"{guest['name']} cannot run: its disk is locked by the host {holder}.")


@schedule.handles("shutdown")
def _shut_down(tx: sqlite3.Connection, due: sqlite3.Row) -> None:
    guest = guests.look(tx, due["host"], due["uuid"])
    if guest is not None and guest["state"] == PowerState.RUNNING:
        turn_off(tx, guest, StateReason.SHUTDOWN, due["due"])
    elif guest is not None and guests.is_active(guest):
        schedule.put_in(tx, max(due["due"], time.time()), _PAUSED_SECONDS, "shutdown", guest)
