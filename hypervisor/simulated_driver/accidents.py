"""Accidents that happen once, now: what an operator would do with `kill -9` or a power switch."""

from __future__ import annotations

import json
import time

from hypervisor.simulated_driver import faults, guests, migration, powering, schedule
from hypervisor.simulated_driver.guests import Job
from hypervisor.simulated_driver.store import open_store
from hypervisor.types import PowerState, StateReason


def kill_daemon(host: str) -> None:
    """The host's daemon is killed and starts again: guests run on, connections break, the daemon's jobs are cut off.

    A migration before the switch is undone, one after it stays unconfirmed, one in post-copy is broken. A snapshot
    that is being written leaves its guest paused, and an orphan in the image.
    """
    with open_store().change() as tx:
        schedule.settle_in(tx)
        migration.daemon_gone(tx, host, time.time())
        sql = "SELECT * FROM schedule WHERE host = ? AND kind = 'snapshot_done'"
        for row in tx.execute(sql, (host,)).fetchall():
            plan = json.loads(row["data"]) | {"stuck": True}
            sql = "UPDATE schedule SET data = ?, due = ? WHERE id = ?"
            tx.execute(sql, (json.dumps(plan), time.time(), row["id"]))
        schedule.settle_in(tx)
        faults.break_connections(tx, host)


def crash_guest(host: str, uuid: str) -> None:
    """The guest's QEMU process is killed. Raises GuestNotFound."""
    with open_store().change() as tx:
        schedule.settle_in(tx)
        guest = guests.find(tx, host, uuid)
        if guests.is_active(guest):
            powering.turn_off(tx, guest, StateReason.CRASHED, time.time())


def crash_host(host: str) -> None:
    """The host loses its power: it is down, and when that fault is cleared its guests are found off."""
    with open_store().change() as tx:
        schedule.settle_in(tx)
        at = time.time()
        off = (PowerState.SHUT_OFF.value, PowerState.CRASHED.value)
        sql = "SELECT * FROM guests WHERE host = ? AND state NOT IN (?, ?)"
        for guest in tx.execute(sql, (host, *off)).fetchall():
            powering.turn_off(tx, guest, StateReason.CRASHED, at)
        reverting = tx.execute("SELECT * FROM guests WHERE host = ? AND job = ?", (host, Job.REVERT.value)).fetchall()
        for guest in reverting:
            schedule.cancel(tx, host, guest["uuid"])
            guests.set_job(tx, guest, None)
        faults.host_goes_down(tx, host, at)
