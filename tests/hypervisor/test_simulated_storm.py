"""Everything at once: several threads work on the same guests while daemons, guests and migrations fail.

What must hold whatever happens: no guest is lost, none runs twice, callers see only HypervisorErrors, and in the end
no host is still working on anything.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hypervisor.errors import HypervisorError
from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver import accidents, estate, faults, open_simulated
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.store import open_store
from hypervisor.types import MigrationSpec, PowerState, StateReason
from tests.hypervisor.simulated import eventually

HOSTS = ("one", "two", "three")
STRIKING_ONCE = (
    Fault.MIGRATION_FAILS,
    Fault.MIGRATION_REFUSED,
    Fault.MIGRATION_UNCONFIRMED,
    Fault.SNAPSHOT_CREATE_FAILS,
    Fault.SNAPSHOT_STUCK,
    Fault.SNAPSHOT_REVERT_FAILS,
    Fault.POSTCOPY_FAILS,
    Fault.START_FAILS,
)


class Worker:
    """Does what comes into its head, on whatever host; counts what it was allowed to do."""

    def __init__(self, seed: int, guests: list[str]) -> None:
        self.chance = random.Random(seed)
        self.guests = guests
        self.done = 0

    def run(self, steps: int) -> int:
        """That many steps; returns how many succeeded. Raises whatever is not a HypervisorError."""
        for _ in range(steps):
            uuid = self.chance.choice(self.guests)
            try:
                self.chance.choice(DEEDS)(self.chance, open_simulated(self.a_host(uuid)), uuid)
                self.done += 1
            except HypervisorError:
                continue
        return self.done

    def a_host(self, uuid: str) -> str:
        """Mostly one that knows the guest."""
        rows = open_store().connection().execute("SELECT host FROM guests WHERE uuid = ?", (uuid,)).fetchall()
        known = [str(row["host"]) for row in rows]
        return self.chance.choice(known * 3 + list(HOSTS))


def carry_and_migrate(chance: random.Random, host: Hypervisor, uuid: str) -> None:
    """Out of the way with the snapshots, and off."""
    host.snapshots_forget(uuid, [one.name for one in host.snapshots_export(uuid)])
    cap = chance.choice([0, 50])
    spec = MigrationSpec(bandwidth_mib=cap, allow_postcopy=True)
    host.migrate(uuid, f"sim://{chance.choice(HOSTS)}/", spec)


def be_unlucky(chance: random.Random, host: Hypervisor, uuid: str) -> None:
    """Let something fail, now or soon."""
    name = host.uri.removeprefix("sim://").rstrip("/")
    kind = chance.choice([*STRIKING_ONCE, "kill", "crash"])
    if kind == "kill":
        accidents.kill_daemon(name)
    elif kind == "crash":
        accidents.crash_guest(name, uuid)
    else:
        faults.plant(Fault(kind), name)


Deed = Callable[[random.Random, Hypervisor, str], object]
DEEDS: list[Deed] = [
    lambda _chance, host, uuid: host.start(uuid),
    lambda _chance, host, uuid: host.start(uuid),
    lambda _chance, host, uuid: host.shutdown(uuid),
    lambda _chance, host, uuid: host.force_off(uuid),
    lambda _chance, host, uuid: host.resume(uuid),
    lambda _chance, host, uuid: host.reboot(uuid),
    lambda chance, host, uuid: host.snapshot_create(uuid, chance.choice("abc"), ""),
    lambda chance, host, uuid: host.snapshot_revert(uuid, chance.choice("abc"), running=chance.choice([None, True])),
    lambda chance, host, uuid: host.snapshot_delete(uuid, chance.choice("abc")),
    lambda _chance, host, uuid: host.migration_abort(uuid),
    lambda _chance, host, uuid: host.migration_start_postcopy(uuid),
    lambda _chance, host, uuid: host.agent_exec(uuid, ["apt-get", "update"]),
    carry_and_migrate,
    carry_and_migrate,
    carry_and_migrate,
    be_unlucky,
]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setenv("SLIPWAY_SIM_STATE", str(tmp_path / "estate.sqlite3"))
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "200")
    estate.create_hosts([estate.SimulatedHost(name) for name in HOSTS])
    guests = [estate.create_guest("one", f"g{number}", memory_mib=256) for number in range(3)]

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: Worker(100 * seed + number, guests).run(120), range(4)))
    assert sum(done) > 50

    db = open_store().connection()
    eventually(lambda: _all_is_settled())
    for uuid in guests:
        rows = db.execute("SELECT * FROM guests WHERE uuid = ?", (uuid,)).fetchall()
        assert rows, "a guest is lost"
        running = [row["host"] for row in rows if row["state"] == PowerState.RUNNING]
        halves = [row for row in rows if row["reason"] == StateReason.POSTCOPY_FAILED]
        assert len(running) <= 1, [tuple(row) for row in rows]
        assert len(halves) <= 2
        assert not any(row["job"] for row in rows)
    assert db.execute("SELECT count(*) FROM migrations WHERE outcome = ''").fetchone()[0] == 0


def _all_is_settled() -> bool:
    """Whether nothing that a host does by itself is still to come; a shutdown that a paused guest ignores may be."""
    time.sleep(0.01)
    for name in HOSTS:
        open_simulated(name).list_guests()
    sql = "SELECT count(*) FROM schedule WHERE kind NOT IN ('shutdown')"
    return bool(open_store().connection().execute(sql).fetchone()[0] == 0)
