"""Faults and accidents of simulated hosts and guests, other than those of a migration."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hypervisor.errors import (
    AccessDenied,
    AgentUnavailable,
    GuestBusy,
    HostUnreachable,
    HypervisorError,
    SnapshotFailed,
)
from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver import accidents, estate, faults, open_simulated
from hypervisor.simulated_driver.faults import Fault
from hypervisor.types import Activity, PowerState, StateReason
from tests.hypervisor.contract_base import Recorder
from tests.hypervisor.simulated import GUEST, TwoHosts, eventually


class TestHosts(TwoHosts):
    def test_a_host_that_is_down_breaks_its_connections_for_good(self, one: Hypervisor, two: Hypervisor) -> None:
        watcher = Recorder(one)
        faults.plant(Fault.HOST_DOWN, "one")
        with pytest.raises(HostUnreachable):
            one.list_guests()
        assert not one.is_alive()
        eventually(lambda: watcher.closed)
        with pytest.raises(HostUnreachable):
            open_simulated("one")
        assert two.list_guests() == []
        faults.clear()
        with pytest.raises(HostUnreachable):
            one.list_guests()
        assert len(open_simulated("one").list_guests()) == 1
        assert len(watcher.closed) == 1

    def test_a_hung_host_blocks_its_callers_until_the_keepalive_runs_out(self, one: Hypervisor) -> None:
        watcher = Recorder(one)
        faults.plant(Fault.HOST_HUNG, "one", value=0.3)
        began = time.monotonic()
        with pytest.raises(HostUnreachable):
            one.guest_state(GUEST)
        assert 0.2 < time.monotonic() - began < 3
        eventually(lambda: watcher.closed)
        began = time.monotonic()
        with pytest.raises(HostUnreachable):
            open_simulated("one")
        assert time.monotonic() - began > 0.2

    def test_a_call_goes_on_when_a_hung_host_wakes_up(self, one: Hypervisor) -> None:
        faults.plant(Fault.HOST_HUNG, "one", value=60)
        watcher = Recorder(open_simulated("two"))
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(one.guest_state, GUEST)
            eventually(lambda: faults.planted())
            assert not call.done()
            faults.clear()
            assert call.result(10).state is PowerState.RUNNING
        assert watcher.closed == []

    def test_closing_frees_a_caller_of_a_hung_host(self, one: Hypervisor) -> None:
        faults.plant(Fault.HOST_HUNG, "one", value=60)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(one.guest_state, GUEST)
            one.close()
            with pytest.raises(HostUnreachable):
                call.result(10)

    def test_a_host_that_refuses_our_credentials(self) -> None:
        faults.plant(Fault.HOST_REFUSES, "one")
        with pytest.raises(AccessDenied):
            open_simulated("one")

    def test_a_slow_list(self, one: Hypervisor) -> None:
        faults.plant(Fault.LIST_SLOW, "one", value=0.3)
        began = time.monotonic()
        assert len(one.list_guests()) == 1
        assert time.monotonic() - began >= 0.3

    def test_an_unknown_host(self) -> None:
        with pytest.raises(HostUnreachable):
            open_simulated("nowhere")

    def test_a_host_of_an_earlier_estate_does_not_come_to_life_again(self, one: Hypervisor) -> None:
        estate.wipe()
        estate.create_hosts([estate.SimulatedHost("one")])
        assert not one.is_alive()

    def test_a_crash_of_the_host_switches_its_guests_off(self, one: Hypervisor) -> None:
        accidents.crash_host("one")
        assert not one.is_alive()
        faults.clear()
        state = open_simulated("one").guest_state(GUEST)
        assert (state.state, state.reason) == (PowerState.SHUT_OFF, StateReason.CRASHED)


class TestGuests(TwoHosts):
    def test_a_start_fails_once(self, one: Hypervisor) -> None:
        one.force_off(GUEST)
        faults.plant(Fault.START_FAILS, "one", GUEST)
        with pytest.raises(HypervisorError):
            one.start(GUEST)
        assert one.guest_state(GUEST).state is PowerState.SHUT_OFF
        one.start(GUEST)
        assert one.guest_state(GUEST).state is PowerState.RUNNING

    def test_the_image_lock_forbids_a_second_running_copy(self, one: Hypervisor, two: Hypervisor) -> None:
        two.define(one.guest_definition(GUEST).xml)
        with pytest.raises(HypervisorError, match="locked"):
            two.start(GUEST)
        assert two.guest_state(GUEST).state is PowerState.SHUT_OFF

    def test_a_split_brain_can_be_arranged(self, one: Hypervisor, two: Hypervisor) -> None:
        estate.copy_guest(GUEST, "one", "two", PowerState.RUNNING, StateReason.BOOTED)
        assert one.guest_state(GUEST) == two.guest_state(GUEST)

    def test_a_shutdown_is_ignored(self, one: Hypervisor) -> None:
        other = estate.create_guest("one", "obedient")
        faults.plant(Fault.SHUTDOWN_IGNORED, "one", GUEST)
        for uuid in (GUEST, other):
            one.shutdown(uuid)
        eventually(lambda: one.guest_state(other).state is PowerState.SHUT_OFF)
        assert _runs(one)
        faults.clear()
        one.shutdown(GUEST)
        eventually(lambda: one.guest_state(GUEST).state is PowerState.SHUT_OFF)

    def test_a_guests_process_is_killed(self, one: Hypervisor) -> None:
        watcher = Recorder(one)
        accidents.crash_guest("one", GUEST)
        state = one.guest_state(GUEST)
        assert (state.state, state.reason) == (PowerState.SHUT_OFF, StateReason.CRASHED)
        eventually(lambda: ("stopped", "crashed") in watcher.of(GUEST))

    def test_a_disk_in_error(self, one: Hypervisor) -> None:
        faults.plant(Fault.DISK_ERROR, "one", GUEST)
        assert one.disk_errors(GUEST) == ["vda"]
        faults.clear(Fault.DISK_ERROR)
        assert one.disk_errors(GUEST) == []

    def test_an_agent_comes_and_goes_with_the_guest(self, one: Hypervisor) -> None:
        watcher = Recorder(one)
        one.agent_ping(GUEST)
        one.reboot(GUEST)
        eventually(lambda: "agent_disconnected" in watcher.kinds(GUEST))
        with pytest.raises(AgentUnavailable):
            one.agent_ping(GUEST)
        eventually(lambda: "agent_connected" in watcher.kinds(GUEST))
        one.agent_ping(GUEST)

    def test_a_silent_agent_lets_its_caller_wait_in_vain(self, one: Hypervisor) -> None:
        faults.plant(Fault.AGENT_SILENT, "one", GUEST)
        began = time.monotonic()
        with pytest.raises(AgentUnavailable):
            one.agent_exec(GUEST, ["/bin/true"], timeout_seconds=5)
        assert time.monotonic() - began >= 0.5

    def test_an_agent_that_talks_nonsense(self, one: Hypervisor) -> None:
        faults.plant(Fault.AGENT_GARBAGE, "one", GUEST)
        result = one.agent_exec(GUEST, ["/bin/true"])
        assert len(result.stdout) > 1000
        with pytest.raises(UnicodeDecodeError):
            result.stdout.decode()


class TestSnapshots(TwoHosts):
    def test_a_snapshot_fails_and_the_guest_runs_on(self, one: Hypervisor) -> None:
        faults.plant(Fault.SNAPSHOT_CREATE_FAILS, "one", GUEST)
        with pytest.raises(SnapshotFailed):
            one.snapshot_create(GUEST, "s", "")
        assert one.list_snapshots(GUEST) == []
        assert one.guest_state(GUEST).state is PowerState.RUNNING

    def test_the_guest_stands_still_while_it_is_saved(self, one: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLIPWAY_SIM_SPEED", "2")
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(one.snapshot_create, GUEST, "s", "")
            state = eventually(lambda: one.guest_state(GUEST) if not _runs(one) else None)
            assert state is not None
            assert (state.state, state.reason) == (PowerState.PAUSED, StateReason.SAVE)
            with pytest.raises(GuestBusy):
                one.activity(GUEST)
            assert call.result(10).name == "s"
        assert _runs(one)

    @pytest.mark.parametrize("kill", [True, False], ids=["killed daemon", "planted"])
    def test_a_daemon_that_dies_in_the_middle_leaves_the_guest_paused(self, one: Hypervisor, kill: bool) -> None:
        if not kill:
            faults.plant(Fault.SNAPSHOT_STUCK, "one", GUEST)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(one.snapshot_create, GUEST, "s", "")
            if kill:
                observer = open_simulated("one")
                eventually(lambda: not _runs(observer))
                accidents.kill_daemon("one")
            with pytest.raises(HostUnreachable):
                call.result(10)
        again = open_simulated("one")
        state = again.guest_state(GUEST)
        assert (state.state, state.reason) == (PowerState.PAUSED, StateReason.SAVE)
        assert again.activity(GUEST) is Activity.NONE
        assert again.list_snapshots(GUEST) == []
        again.resume(GUEST)
        assert _runs(again)
        assert again.snapshot_create(GUEST, "s", "").name == "s"

    def test_a_failed_revert_leaves_the_guest_off_and_it_starts_again(self, one: Hypervisor) -> None:
        one.snapshot_create(GUEST, "s", "")
        faults.plant(Fault.SNAPSHOT_REVERT_FAILS, "one", GUEST)
        with pytest.raises(SnapshotFailed):
            one.snapshot_revert(GUEST, "s")
        state = one.guest_state(GUEST)
        assert (state.state, state.reason) == (PowerState.SHUT_OFF, StateReason.FAILED)
        one.start(GUEST)
        assert _runs(one)

    def test_metadata_without_an_image_cannot_be_reverted_to(self, one: Hypervisor) -> None:
        one.snapshot_create(GUEST, "s", "")
        saved = one.snapshots_export(GUEST)
        one.snapshot_delete(GUEST, "s")
        one.snapshots_restore(GUEST, saved)
        with pytest.raises(SnapshotFailed):
            one.snapshot_revert(GUEST, "s")
        assert one.guest_state(GUEST).reason is StateReason.FAILED

    def test_a_delete_fails_and_the_snapshot_stays(self, one: Hypervisor) -> None:
        one.snapshot_create(GUEST, "s", "")
        faults.plant(Fault.SNAPSHOT_DELETE_FAILS, "one", GUEST)
        with pytest.raises(SnapshotFailed):
            one.snapshot_delete(GUEST, "s")
        assert len(one.list_snapshots(GUEST)) == 1

    def test_a_revert_takes_the_mark_back_too(self, one: Hypervisor) -> None:
        one.mark_operation(GUEST, "before")
        one.snapshot_create(GUEST, "s", "")
        one.mark_operation(GUEST, "after")
        one.snapshot_revert(GUEST, "s")
        assert one.guest_definition(GUEST).operation_id == "before"

    def test_saved_metadata_of_another_guest_is_refused(self, one: Hypervisor) -> None:
        other = estate.create_guest("one", "other")
        one.snapshot_create(other, "s", "")
        with pytest.raises(SnapshotFailed):
            one.snapshots_restore(GUEST, one.snapshots_export(other))
        assert one.list_snapshots(GUEST) == []


def _runs(hypervisor: Hypervisor) -> bool:
    return hypervisor.guest_state(GUEST).state is PowerState.RUNNING
