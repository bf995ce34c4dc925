"""The estate's furnishing, its file shared by processes and threads, its size, and its command line."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from hypervisor.errors import GuestExists, GuestNotFound, HypervisorError
from hypervisor.simulated_driver import estate, events, open_simulated
from hypervisor.simulated_driver.__main__ import main
from hypervisor.simulated_driver.store import open_store, speed, state_path
from hypervisor.types import MigrationSpec, PowerState
from tests.hypervisor.contract_base import Recorder
from tests.hypervisor.simulated import GUEST, TwoHosts, eventually

NETWORKS = ("accounting-net", "engineering-net", "research-net", "sales-net")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "estate.sqlite3"
    monkeypatch.setenv("SLIPWAY_SIM_STATE", str(path))
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "20")
    return path


@pytest.mark.usefixtures("empty")
class TestFurnishing:
    def test_the_default_estate_is_made_once(self) -> None:
        estate.ensure_default_estate()
        estate.ensure_default_estate()
        assert estate.host_names() == ["sim-a", "sim-b", "sim-c", "sim-d"]
        assert estate.host_names("east") == ["sim-a", "sim-b"]
        guests = [guest for name in estate.host_names() for guest in open_simulated(name).list_guests()]
        assert len(guests) == len({guest.uuid for guest in guests}) == len({guest.name for guest in guests}) == 24
        states = Counter(guest.state for guest in guests)
        assert states[PowerState.RUNNING] > 12
        assert states[PowerState.SHUT_OFF] > 0

    def test_each_guest_is_on_its_teams_network(self) -> None:
        estate.ensure_default_estate()
        for name in estate.host_names():
            host = open_simulated(name)
            for guest in host.list_guests():
                (nic,) = host.guest_definition(guest.uuid).nics
                assert nic.source == guest.name.split("-")[0] + "-net"
                assert nic.source in host.list_networks()

    def test_a_seed_gives_the_same_estate_again(self) -> None:
        hosts = [estate.SimulatedHost("h1", networks=NETWORKS), estate.SimulatedHost("h2", networks=NETWORKS)]
        first = estate.populate(hosts, 60, seed=3)
        estate.wipe()
        assert estate.populate(hosts, 60, seed=3) == first
        estate.wipe()
        assert estate.populate(hosts, 60, seed=4) != first

    def test_no_host_gets_more_than_it_can_hold(self) -> None:
        with pytest.raises(HypervisorError):
            estate.populate([estate.SimulatedHost("h", memory_mib=4096)], 50)
        assert estate.host_names() == []

    def test_names_are_taken_once(self) -> None:
        estate.create_hosts([estate.SimulatedHost("h")])
        with pytest.raises(HypervisorError):
            estate.create_hosts([estate.SimulatedHost("h")])
        estate.create_guest("h", "g")
        with pytest.raises(GuestExists):
            estate.create_guest("h", "g")
        with pytest.raises(GuestExists):
            estate.create_guest("no-such-host", "g")

    def test_a_guest_disappears(self) -> None:
        estate.create_hosts([estate.SimulatedHost("h")])
        uuid = estate.create_guest("h", "g")
        host = open_simulated("h")
        estate.remove_guest("h", uuid)
        with pytest.raises(GuestNotFound):
            host.guest_state(uuid)


class TestWhere:
    def test_the_file_is_where_the_environment_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLIPWAY_SIM_STATE", "/a/b.sqlite3")
        monkeypatch.setenv("SLIPWAY_DATA_DIR", "/data")
        assert state_path() == Path("/a/b.sqlite3")
        monkeypatch.delenv("SLIPWAY_SIM_STATE")
        assert state_path() == Path("/data/simulator.sqlite3")
        monkeypatch.delenv("SLIPWAY_DATA_DIR")
        assert state_path().parts[-2:] == ("var", "simulator.sqlite3")

    @pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf"])
    def test_a_senseless_speed_is_refused(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("SLIPWAY_SIM_SPEED", text)
        with pytest.raises(HypervisorError):
            speed()

    def test_a_file_of_another_format_is_refused(self, empty: Path) -> None:
        open_store().connection().execute("PRAGMA user_version=999")
        with ThreadPoolExecutor(1) as pool, pytest.raises(HypervisorError, match="remove the file"):
            pool.submit(lambda: open_store().connection()).result()


@pytest.mark.usefixtures("empty")
class TestSize:
    def test_ten_thousand_guests(self) -> None:
        hosts = [estate.SimulatedHost(f"h{n}", memory_mib=2**23, networks=NETWORKS) for n in range(5)]
        began = time.perf_counter()
        estate.populate(hosts, 10_000)
        assert time.perf_counter() - began < 10
        host = open_simulated("h0")
        times = []
        for _ in range(5):
            began = time.perf_counter()
            guests = host.list_guests()
            times.append(time.perf_counter() - began)
        assert 1500 < len(guests) < 2500
        assert min(times) < 0.1
        assert host.describe_host().memory_free_mib > 0


class TestSharing(TwoHosts):
    speed = "20"

    def test_many_processes_open_an_estate_that_is_not_there_yet(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLIPWAY_SIM_STATE", str(tmp_path / "another.sqlite3"))
        program = "from hypervisor.simulated_driver.estate import ensure_default_estate as e; e()"
        makers = [subprocess.Popen([sys.executable, "-c", program], env=dict(os.environ)) for _ in range(4)]
        assert [maker.wait() for maker in makers] == [0, 0, 0, 0]
        assert len(estate.host_names()) == 4

    def test_a_watcher_hears_what_another_process_does(self) -> None:
        watcher = Recorder(open_simulated("one"))
        program = f"from hypervisor.simulated_driver import open_simulated as o; o('one').force_off('{GUEST}')"
        subprocess.run([sys.executable, "-c", program], env=dict(os.environ), check=True)
        eventually(lambda: ("stopped", "destroyed") in watcher.of(GUEST))
        watcher.subscription.stop()

    def test_a_fork_uses_connections_of_its_own(self) -> None:
        host = open_simulated("one")
        assert host.guest_state(GUEST).state is PowerState.RUNNING
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            names = [pool.submit(_name_in_a_child, n) for n in range(6)]
            assert {future.result(30) for future in names} == {"guest"}
        host.mark_operation(GUEST, "still writes")
        assert host.guest_definition(GUEST).operation_id == "still writes"

    def test_every_change_of_many_threads_is_announced_once_and_in_order(self) -> None:
        uuids = [estate.create_guest("one", f"g{n}", running=False) for n in range(8)]
        watcher = Recorder(open_simulated("one"))

        def cycle(uuid: str) -> None:
            host = open_simulated("one")
            for _ in range(5):
                host.start(uuid)
                host.force_off(uuid)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(cycle, uuids))
        eventually(lambda: sum(event.kind == "stopped" for event in watcher.events) == 40)
        for uuid in uuids:
            assert [kind for kind in watcher.kinds(uuid) if kind in ("started", "stopped")] == [
                "started",
                "stopped",
            ] * 5
        watcher.subscription.stop()

    def test_guests_migrate_at_the_same_time(self) -> None:
        uuids = [estate.create_guest("one", f"g{n}", memory_mib=256) for n in range(6)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda uuid: open_simulated("one").migrate(uuid, "sim://two/", MigrationSpec()), uuids))
        assert {guest.uuid for guest in open_simulated("two").list_guests()} == set(uuids)

    def test_the_watching_thread_ends_with_the_last_watcher(self) -> None:
        def watching() -> int:
            return sum(thread.name == "simulated-events" for thread in threading.enumerate())

        eventually(lambda: watching() == 0)
        first, second = Recorder(open_simulated("one")), Recorder(open_simulated("two"))
        assert watching() == 1
        first.subscription.stop()
        second.subscription.stop()
        eventually(lambda: watching() == 0)

    def test_old_events_are_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "KEPT_EVENTS", 100)
        host = open_simulated("one")
        for number in range(1001):
            host.mark_operation(GUEST, str(number))
        kept = open_store().connection().execute("SELECT count(*) FROM events").fetchone()[0]
        assert kept <= 101
        assert events.newest(open_store().connection()) == 1001


def _name_in_a_child(_number: int) -> str:
    return open_simulated("one").guest_state(GUEST).name


@pytest.mark.usefixtures("empty")
class TestCommandLine:
    def test_an_estate_is_made_and_shown(self, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["populate", "2", "10"]) == 0
        assert main(["hosts"]) == 0
        assert main(["guests", "sim-001"]) == 0
        shown = capsys.readouterr().out
        assert str(empty) in shown
        assert "sim://sim-002/" in shown
        assert "running/booted" in shown

    def test_a_fault_is_planted_listed_and_cleared(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["populate", "1", "1"])
        assert main(["plant", "host_down", "sim-001"]) == 0
        assert main(["guests"]) == 1
        assert "cannot be reached" in capsys.readouterr().err
        main(["faults"])
        assert "host_down  sim-001" in capsys.readouterr().out
        main(["clear"])
        assert main(["guests"]) == 0

    def test_accidents_happen(self) -> None:
        main(["populate", "1", "1"])
        (guest,) = open_simulated("sim-001").list_guests()
        assert main(["accident", "crash-guest", "sim-001", guest.uuid]) == 0
        assert open_simulated("sim-001").guest_state(guest.uuid).state is PowerState.SHUT_OFF
        assert main(["accident", "crash-guest", "sim-001", "nobody"]) == 1
        assert main(["accident", "kill-daemon", "sim-001"]) == 0
        assert main(["accident", "crash-host", "sim-001"]) == 0
        assert main(["wipe"]) == 0
        assert estate.host_names() == []

    def test_a_figure_of_an_event_is_plain_json(self) -> None:
        estate.create_hosts([estate.SimulatedHost("a"), estate.SimulatedHost("b")])
        uuid = estate.create_guest("a", "g")
        watcher = Recorder(open_simulated("a"))
        open_simulated("a").migrate(uuid, "sim://b/", MigrationSpec())
        eventually(lambda: "job_completed" in watcher.kinds(uuid))
        data = next(event.data for event in watcher.events if event.kind == "job_completed")
        assert json.loads(json.dumps(data)) == data
        watcher.subscription.stop()
