"""Simulated migrations: states on both hosts in each phase, planted failures, and accidents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from hypervisor.errors import (
    GuestBusy,
    GuestNotFound,
    GuestStateInvalid,
    HostUnreachable,
    HypervisorError,
    MigrationFailed,
    MigrationRefused,
)
from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver import accidents, estate, faults, open_simulated
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.faults import Fault
from hypervisor.types import NIC, Activity, MigrationSpec, PowerState, StateReason
from tests.hypervisor.contract_base import Recorder
from tests.hypervisor.contract_migration import migrating
from tests.hypervisor.simulated import GUEST, PATIENCE_SECONDS, TwoHosts, eventually

#: About 15 s of simulated time.
SLOW = MigrationSpec(bandwidth_mib=20)

RUNNING, PAUSED, SHUT_OFF = PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUT_OFF
ABSENT = None


class _Here:
    """What `migrating` needs to know."""

    guest = GUEST
    second_uri = "sim://two/"
    patience_seconds = PATIENCE_SECONDS


def pair(hypervisor: Hypervisor) -> tuple[PowerState, StateReason] | None:
    """State and reason, None when the host does not know the guest."""
    try:
        state = hypervisor.guest_state(GUEST)
    except GuestNotFound:
        return None
    return state.state, state.reason


class TestPhases(TwoHosts):
    def test_each_pair_of_states_comes_in_its_turn(self, one: Hypervisor, two: Hypervisor) -> None:
        seen: list[object] = []
        with migrating(_Here, one, SLOW) as outcome:  # type: ignore[arg-type]
            while not outcome.done():
                # Between the two looks the phase may change; a pair counts when both hosts are seen twice in it.
                before, there, after = pair(one), pair(two), pair(one)
                if before == after and there == pair(two) and (not seen or seen[-1] != (before, there)):
                    seen.append((before, there))
        waiting = (PAUSED, StateReason.MIGRATION)
        assert seen[0] == ((RUNNING, StateReason.BOOTED), ABSENT)
        expected = [
            ((RUNNING, StateReason.BOOTED), ABSENT),
            ((RUNNING, StateReason.BOOTED), waiting),
            (waiting, waiting),
            (waiting, (RUNNING, StateReason.MIGRATED)),
        ]
        assert seen[:4] == expected
        assert (pair(one), pair(two)) == (ABSENT, (RUNNING, StateReason.MIGRATED))

    def test_postcopy_shows_on_both_sides(self, one: Hypervisor, two: Hypervisor) -> None:
        here, there = Recorder(one), Recorder(two)
        with migrating(_Here, one, MigrationSpec(bandwidth_mib=20, allow_postcopy=True)):  # type: ignore[arg-type]
            eventually(lambda: one.migration_progress(GUEST).memory_total_bytes)
            one.migration_start_postcopy(GUEST)
            eventually(lambda: pair(two) == (RUNNING, StateReason.POSTCOPY))
            assert pair(one) == (PAUSED, StateReason.POSTCOPY)
            assert one.migration_progress(GUEST).downtime_ms == 30
            with pytest.raises(GuestStateInvalid):
                one.migration_abort(GUEST)
        assert (pair(one), pair(two)) == (ABSENT, (RUNNING, StateReason.MIGRATED))
        assert two.completed_migration(GUEST) is None  # as libvirt has it after a post-copy
        eventually(lambda: ("stopped", "migrated") in here.of(GUEST))
        suspensions = [detail for kind, detail in here.of(GUEST) if kind == "suspended"]
        resumptions = [detail for kind, detail in there.of(GUEST) if kind == "resumed"]
        assert suspensions == ["migrated", "postcopy"]
        assert resumptions == ["postcopy", "migrated"]

    def test_an_abort_before_the_switch_to_postcopy_wins(self, one: Hypervisor, two: Hypervisor) -> None:
        spec = MigrationSpec(bandwidth_mib=20, allow_postcopy=True)
        with migrating(_Here, one, spec) as outcome:  # type: ignore[arg-type]
            eventually(lambda: one.migration_progress(GUEST).memory_total_bytes)
            one.migration_abort(GUEST)
            one.migration_start_postcopy(GUEST)
        with pytest.raises(HypervisorError, match="cancelled"):
            outcome.result()
        assert (pair(one), pair(two)) == ((RUNNING, StateReason.BOOTED), ABSENT)

    def test_a_paused_guest_arrives_paused(self, one: Hypervisor, two: Hypervisor) -> None:
        estate.set_state("one", GUEST, PAUSED, StateReason.USER)
        one.migrate(GUEST, "sim://two/", MigrationSpec())
        assert pair(two) == (PAUSED, StateReason.USER)

    def test_a_transient_move_leaves_the_definition_behind(self, one: Hypervisor, two: Hypervisor) -> None:
        one.migrate(GUEST, "sim://two/", MigrationSpec(persistent=False))
        assert pair(one) == (SHUT_OFF, StateReason.MIGRATED)
        assert not two.guest_state(GUEST).persistent
        two.force_off(GUEST)
        assert pair(two) is ABSENT

    def test_autostart_stays_behind(self, one: Hypervisor, two: Hypervisor) -> None:
        one.set_autostart(GUEST, True)
        one.migrate(GUEST, "sim://two/", MigrationSpec())
        assert not two.guest_definition(GUEST).autostart

    def test_a_mark_is_not_written_while_it_runs(self, one: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
        with migrating(_Here, one, MigrationSpec(bandwidth_mib=1)):  # type: ignore[arg-type]
            eventually(lambda: one.migration_progress(GUEST).memory_total_bytes)
            monkeypatch.setenv("SLIPWAY_SIM_SPEED", "100")  # of the host's patience; the migration keeps its own
            with pytest.raises(GuestBusy):
                one.mark_operation(GUEST, "late")
            one.migration_set_bandwidth(GUEST, 0)

    def test_it_ends_when_its_callers_process_is_killed(self, one: Hypervisor, two: Hypervisor) -> None:
        program = (
            "from hypervisor.simulated_driver import open_simulated; from hypervisor.types import MigrationSpec;"
            f"open_simulated('one').migrate('{GUEST}', 'sim://two/', MigrationSpec(bandwidth_mib=20))"
        )
        caller = subprocess.Popen([sys.executable, "-c", program], env=dict(os.environ))
        eventually(lambda: one.activity(GUEST) is Activity.MIGRATION_OUT)
        caller.send_signal(signal.SIGKILL)
        assert caller.wait() == -signal.SIGKILL
        assert pair(one) == (RUNNING, StateReason.BOOTED)
        eventually(lambda: pair(two) == (RUNNING, StateReason.MIGRATED))
        eventually(lambda: pair(one) is ABSENT)


class TestFailures(TwoHosts):
    @pytest.mark.parametrize(
        ("percent", "reason"), [(40.0, StateReason.BOOTED), (100.0, StateReason.MIGRATION_CANCELED)]
    )
    def test_a_failed_migration_leaves_the_guest_running(
        self, one: Hypervisor, two: Hypervisor, percent: float, reason: StateReason
    ) -> None:
        faults.plant(Fault.MIGRATION_FAILS, "one", GUEST, value=percent)
        with pytest.raises(MigrationFailed):
            one.migrate(GUEST, "sim://two/", MigrationSpec())
        assert (pair(one), pair(two)) == ((RUNNING, reason), ABSENT)
        one.migrate(GUEST, "sim://two/", MigrationSpec())
        assert pair(two) == (RUNNING, StateReason.MIGRATED)

    def test_an_inactive_definition_comes_back_after_a_failure(self, one: Hypervisor, two: Hypervisor) -> None:
        two.define(one.guest_definition(GUEST).xml)
        faults.plant(Fault.MIGRATION_FAILS, "one")
        with pytest.raises(MigrationFailed):
            one.migrate(GUEST, "sim://two/", MigrationSpec())
        assert pair(two) == (SHUT_OFF, StateReason.OTHER)

    def test_the_destination_dies(self, one: Hypervisor, two: Hypervisor) -> None:
        faults.plant(Fault.MIGRATION_DESTINATION_DIES, "one", value=30)
        with pytest.raises(MigrationFailed):
            one.migrate(GUEST, "sim://two/", MigrationSpec())
        assert pair(one) == (RUNNING, StateReason.BOOTED)
        assert not two.is_alive()
        with pytest.raises(HostUnreachable):
            open_simulated("two")

    def test_a_guest_that_never_converges_does_with_a_larger_limit(self, one: Hypervisor, two: Hypervisor) -> None:
        faults.plant(Fault.MIGRATION_NEVER_CONVERGES, "one", GUEST)
        with migrating(_Here, one, MigrationSpec(bandwidth_mib=200)) as outcome:  # type: ignore[arg-type]
            eventually(lambda: one.migration_progress(GUEST).iteration > 4)
            progress = one.migration_progress(GUEST)
            assert progress.downtime_ms > 1000
            assert progress.dirty_bps > 0.99 * progress.memory_bps
            one.migration_set_downtime(GUEST, 2 * progress.downtime_ms)
        outcome.result()
        assert pair(two) == (RUNNING, StateReason.MIGRATED)

    def test_an_unconfirmed_switch_leaves_both_sides(self, one: Hypervisor, two: Hypervisor) -> None:
        faults.plant(Fault.MIGRATION_UNCONFIRMED, "one", GUEST)
        with pytest.raises(HostUnreachable):
            one.migrate(GUEST, "sim://two/", MigrationSpec())
        again = open_simulated("one")
        assert (pair(again), pair(two)) == ((PAUSED, StateReason.MIGRATION), (RUNNING, StateReason.MIGRATED))
        assert again.activity(GUEST) is Activity.NONE
        with pytest.raises(HypervisorError, match="locked by the host two"):
            again.resume(GUEST)
        with pytest.raises(MigrationRefused):
            again.migrate(GUEST, "sim://two/", MigrationSpec())

    def test_a_broken_postcopy_leaves_a_part_on_each_side(self, one: Hypervisor, two: Hypervisor) -> None:
        faults.plant(Fault.POSTCOPY_FAILS, "one", GUEST)
        spec = MigrationSpec(bandwidth_mib=20, allow_postcopy=True)
        with migrating(_Here, one, spec) as outcome:  # type: ignore[arg-type]
            eventually(lambda: one.migration_progress(GUEST).memory_total_bytes)
            one.migration_start_postcopy(GUEST)
        with pytest.raises(MigrationFailed):
            outcome.result()
        assert pair(one) == (PAUSED, StateReason.POSTCOPY_FAILED)
        assert pair(two) == (RUNNING, StateReason.POSTCOPY_FAILED)
        one.migrate(GUEST, "sim://two/", replace(spec, resume=True))
        assert (pair(one), pair(two)) == (ABSENT, (RUNNING, StateReason.MIGRATED))

    def test_what_did_not_break_off_cannot_go_on(self, one: Hypervisor, two: Hypervisor) -> None:
        with pytest.raises(MigrationRefused):
            one.migrate(GUEST, "sim://two/", MigrationSpec(allow_postcopy=True, resume=True))
        assert (pair(one)[0], pair(two)) == (RUNNING, ABSENT)

    @pytest.mark.parametrize("host", ["one", "two"])
    def test_a_killed_daemon_undoes_it_before_the_switch(self, one: Hypervisor, two: Hypervisor, host: str) -> None:
        with migrating(_Here, one, SLOW) as outcome:  # type: ignore[arg-type]
            eventually(lambda: one.migration_progress(GUEST).memory_total_bytes)
            accidents.kill_daemon(host)
        with pytest.raises(HostUnreachable if host == "one" else MigrationFailed):
            outcome.result()
        assert pair(open_simulated("one")) == (RUNNING, StateReason.BOOTED)
        assert pair(open_simulated("two")) is ABSENT

    def test_a_guest_that_is_switched_off_on_the_way(self, one: Hypervisor, two: Hypervisor) -> None:
        with migrating(_Here, one, SLOW) as outcome:  # type: ignore[arg-type]
            eventually(lambda: pair(two))
            one.force_off(GUEST)
        with pytest.raises(MigrationFailed):
            outcome.result()
        assert (pair(one), pair(two)) == ((SHUT_OFF, StateReason.DESTROYED), ABSENT)

    def test_a_destination_that_is_destroyed_on_the_way(self, one: Hypervisor, two: Hypervisor) -> None:
        with migrating(_Here, one, SLOW) as outcome:  # type: ignore[arg-type]
            eventually(lambda: pair(two))
            two.force_off(GUEST)
        with pytest.raises(MigrationFailed):
            outcome.result()
        assert (pair(one), pair(two)) == ((RUNNING, StateReason.BOOTED), ABSENT)

    def test_a_guest_that_shuts_itself_down_on_the_way(self, one: Hypervisor, two: Hypervisor) -> None:
        one.shutdown(GUEST)
        with pytest.raises(MigrationFailed):
            one.migrate(GUEST, "sim://two/", MigrationSpec(bandwidth_mib=10))
        assert (pair(one), pair(two)) == ((SHUT_OFF, StateReason.SHUTDOWN), ABSENT)


class TestRefusals(TwoHosts):
    def assert_refused(self, one: Hypervisor, destination: str = "sim://two/") -> None:
        with pytest.raises(MigrationRefused):
            one.migrate(GUEST, destination, MigrationSpec())
        assert pair(one) == (RUNNING, StateReason.BOOTED)
        assert one.activity(GUEST) is Activity.NONE

    @pytest.mark.parametrize("uri", ["sim://one/", "sim://nowhere/", "qemu:///system", "", "sim://two/?x=1"])
    def test_a_destination_that_is_none(self, one: Hypervisor, uri: str) -> None:
        self.assert_refused(one, uri)

    def test_a_destination_that_is_down(self, one: Hypervisor) -> None:
        faults.plant(Fault.HOST_DOWN, "two")
        self.assert_refused(one)

    def test_a_planted_refusal_strikes_once(self, one: Hypervisor, two: Hypervisor) -> None:
        faults.plant(Fault.MIGRATION_REFUSED, "one")
        self.assert_refused(one)
        one.migrate(GUEST, "sim://two/", MigrationSpec())
        assert pair(two) == (RUNNING, StateReason.MIGRATED)

    def test_a_name_that_is_taken_there(self, one: Hypervisor) -> None:
        estate.create_guest("two", "guest")
        self.assert_refused(one)

    def test_the_same_guest_active_there(self, one: Hypervisor) -> None:
        estate.copy_guest(GUEST, "one", "two", RUNNING, StateReason.BOOTED)
        self.assert_refused(one)

    def test_another_cluster(self, one: Hypervisor) -> None:
        estate.create_hosts([estate.SimulatedHost("far", "elsewhere")])
        self.assert_refused(one, "sim://far/")

    def test_no_memory_there(self, one: Hypervisor) -> None:
        estate.create_hosts([estate.SimulatedHost("small", memory_mib=500)])
        self.assert_refused(one, "sim://small/")

    def test_no_network_there(self, one: Hypervisor) -> None:
        config = Config(nics=(NIC("52:54:00:00:00:09", "network", "secret-net"),))
        uuid = estate.create_guest("one", "wired", config=config)
        with pytest.raises(MigrationRefused, match="secret-net"):
            one.migrate(uuid, "sim://two/", MigrationSpec())


class TestTime(TwoHosts):
    speed = "1"

    def test_a_second_is_a_second(self, one: Hypervisor, two: Hypervisor) -> None:
        # 0.3 s of setup, 307 MiB at 300 MiB/s, stop-and-copy, 0.25 s to the source's end.
        began = time.monotonic()
        one.migrate(GUEST, "sim://two/", MigrationSpec(bandwidth_mib=300))
        took = time.monotonic() - began
        figures = two.completed_migration(GUEST)
        assert figures is not None
        assert abs(took - figures.elapsed_ms / 1000) < 0.3
        assert 1.5 < took < 2.2
