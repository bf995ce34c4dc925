"""The contract's part about live migration between two hosts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from hypervisor.errors import (
    GuestNotFound,
    GuestStateInvalid,
    HostUnreachable,
    HypervisorError,
    MigrationAborted,
    MigrationRefused,
)
from hypervisor.protocol import Hypervisor
from hypervisor.types import (
    CANARY_MIB,
    MARKER_PREFIX,
    NIC,
    Activity,
    HostLacks,
    MigrationProgress,
    MigrationSpec,
    PowerState,
    StateReason,
    canary_name,
)
from tests.hypervisor.contract_base import ContractBase, Estate, Feature, Recorder, eventually, needs, state_or_none

CANARY = "00000000-0000-4000-8000-0000000ca4a7"
needs_migration = needs(Feature.MIGRATION)


@contextmanager
def migrating(estate: Estate, hypervisor: Hypervisor, spec: MigrationSpec) -> Iterator[Future[None]]:
    """Migrate the guest to the second host in a thread; the future has the outcome. Waits for the end in any case."""
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            hypervisor.migrate(estate.guest, estate.second_uri, spec)
        except HypervisorError as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    except BaseException:
        with suppress(HypervisorError):  # so that a failed test does not leave a slow migration behind
            hypervisor.migration_abort(estate.guest)
        raise
    finally:
        thread.join(estate.patience_seconds)
        assert not thread.is_alive(), "the migration did not come back"


def is_copying(hypervisor: Hypervisor, uuid: str) -> bool:
    """Whether memory is being sent."""
    progress = hypervisor.migration_progress(uuid)
    return progress.activity is Activity.MIGRATION_OUT and progress.memory_total_bytes > 0


def samples_until_done(hypervisor: Hypervisor, uuid: str, outcome: Future[None]) -> list[MigrationProgress]:
    """What a monitor sees of a migration, from beginning to end."""
    samples = []
    while not outcome.done():
        try:
            progress = hypervisor.migration_progress(uuid)
        except GuestNotFound:
            break
        if progress.activity is Activity.MIGRATION_OUT:
            samples.append(progress)
        time.sleep(0.005)
    return samples


class MigrationContract(ContractBase):
    """Migration from the first host to the second."""

    @needs_migration
    def test_a_guest_migrates_and_comes_back(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        before = first.guest_state(estate.guest)
        first.migrate(estate.guest, estate.second_uri, estate.spec)
        eventually(estate, lambda: state_or_none(first, estate.guest) is None, "the source's forgetting")
        after = second.guest_state(estate.guest)
        assert (after.state, after.reason) == (PowerState.RUNNING, StateReason.MIGRATED)
        assert after.persistent
        assert (after.name, after.memory_mib, after.vcpus) == (before.name, before.memory_mib, before.vcpus)
        counted = second.pulse(estate.guest)
        eventually(estate, lambda: second.pulse(estate.guest) > counted, "a pulse at the destination")
        second.migrate(estate.guest, estate.first_uri, estate.spec)
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_migration
    def test_the_figures_of_a_completed_migration_stay(
        self, estate: Estate, first: Hypervisor, second: Hypervisor
    ) -> None:
        first.migrate(estate.guest, estate.second_uri, estate.spec)
        figures = second.completed_migration(estate.guest)
        assert figures is not None
        assert figures.completed
        assert 0 < figures.downtime_ms <= figures.elapsed_ms
        assert figures.memory_total_bytes >= 2**20
        assert figures.memory_processed_bytes > 0
        assert second.completed_migration(estate.guest) == figures

    @needs_migration
    def test_both_sides_show_a_migration_that_runs(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        with migrating(estate, first, estate.slow_spec) as outcome:

            def is_incoming() -> bool:
                incoming = state_or_none(second, estate.guest)  # at first its process only starts
                return incoming is not None and incoming.reason is StateReason.MIGRATION

            eventually(estate, is_incoming, "the incoming guest")
            assert second.guest_state(estate.guest).state is PowerState.PAUSED
            assert second.activity(estate.guest) is Activity.MIGRATION_IN
            eventually(estate, lambda: is_copying(first, estate.guest), "the copying")
            assert first.activity(estate.guest) is Activity.MIGRATION_OUT
            assert first.guest_state(estate.guest).state is PowerState.RUNNING
            assert estate.guest in {guest.uuid for guest in first.list_guests()}
            assert estate.guest in {guest.uuid for guest in second.list_guests()}
            first.migration_set_bandwidth(estate.guest, 0)
        outcome.result()

    @needs_migration
    def test_progress_is_consistent(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        with migrating(estate, first, estate.slow_spec) as outcome:
            samples = samples_until_done(first, estate.guest, outcome)
        outcome.result()
        copying = [sample for sample in samples if sample.memory_total_bytes]
        assert len(copying) >= 3
        assert all(0 <= sample.memory_remaining_bytes <= sample.memory_total_bytes for sample in copying)
        assert all(not sample.completed for sample in copying)
        for figure in ("elapsed_ms", "iteration", "memory_processed_bytes"):
            values = [getattr(sample, figure) for sample in copying]
            assert values == sorted(values), figure
        assert min(sample.memory_remaining_bytes for sample in copying) < copying[0].memory_total_bytes
        assert second.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_migration
    def test_both_hosts_announce_a_migration(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        here, there = Recorder(first), Recorder(second)
        first.migrate(estate.guest, estate.second_uri, estate.spec)
        eventually(estate, lambda: ("stopped", "migrated") in here.of(estate.guest), "STOPPED on the source")
        eventually(estate, lambda: ("resumed", "migrated") in there.of(estate.guest), "RESUMED on the destination")
        assert ("suspended", "migrated") in here.of(estate.guest)
        assert there.of(estate.guest).index(("started", "migrated")) < there.of(estate.guest).index(
            ("resumed", "migrated")
        )
        completed = next(event for event in here.events if event.kind == "job_completed")
        assert completed.data["success"]
        assert completed.data["downtime_ms"] > 0
        suspended = next(event for event in here.events if event.kind == "suspended")
        resumed = next(event for event in there.events if event.kind == "resumed")
        assert resumed.monotonic > suspended.monotonic
        here.subscription.stop()
        there.subscription.stop()

    @needs_migration
    def test_a_migration_is_aborted(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        with migrating(estate, first, estate.slow_spec) as outcome:
            eventually(estate, lambda: is_copying(first, estate.guest), "the copying")
            first.migration_abort(estate.guest)
        with pytest.raises(MigrationAborted):
            outcome.result()
        assert first.guest_state(estate.guest).state is PowerState.RUNNING
        eventually(estate, lambda: state_or_none(second, estate.guest) is None, "the destination's clearing up")
        assert first.activity(estate.guest) is Activity.NONE
        first.migrate(estate.guest, estate.second_uri, estate.spec)
        assert second.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_migration
    def test_there_is_nothing_to_abort(self, estate: Estate, first: Hypervisor) -> None:
        with pytest.raises(GuestStateInvalid):
            first.migration_abort(estate.guest)

    @needs_migration
    def test_one_migration_at_a_time(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        with migrating(estate, first, estate.slow_spec) as outcome:
            eventually(estate, lambda: is_copying(first, estate.guest), "the copying")
            again = estate.open(estate.first_uri)
            with pytest.raises(MigrationRefused):
                again.migrate(estate.guest, estate.second_uri, estate.spec)
            again.close()
            first.migration_set_bandwidth(estate.guest, 0)
        outcome.result()
        assert second.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_migration
    def test_a_guest_that_is_off_is_not_migrated(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        first.force_off(estate.guest)
        with pytest.raises(MigrationRefused):
            first.migrate(estate.guest, estate.second_uri, estate.spec)
        assert first.guest_state(estate.guest).state is PowerState.SHUT_OFF
        assert state_or_none(second, estate.guest) is None

    @needs_migration
    def test_the_downtime_limit_is_set_while_it_runs(
        self, estate: Estate, first: Hypervisor, second: Hypervisor
    ) -> None:
        with migrating(estate, first, replace(estate.slow_spec, max_downtime_ms=50)) as outcome:
            eventually(estate, lambda: is_copying(first, estate.guest), "the copying")
            first.migration_set_downtime(estate.guest, 2000)
            first.migration_set_bandwidth(estate.guest, 0)
        outcome.result()
        assert second.guest_state(estate.guest).state is PowerState.RUNNING

    @needs_migration
    def test_a_mark_travels(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        first.mark_operation(estate.guest, "op-17")
        first.migrate(estate.guest, estate.second_uri, estate.spec)
        assert second.guest_definition(estate.guest).operation_id == "op-17"

    @needs_migration
    def test_a_migration_goes_on_without_its_caller(
        self, estate: Estate, first: Hypervisor, second: Hypervisor
    ) -> None:
        caller = estate.open(estate.first_uri)
        with migrating(estate, caller, estate.slow_spec) as outcome:
            eventually(estate, lambda: is_copying(first, estate.guest), "the copying")
            caller.close()
        with pytest.raises(HostUnreachable):
            outcome.result()
        first.migration_set_bandwidth(estate.guest, 0)

        def arrived() -> bool:
            state = second.guest_state(estate.guest)
            return (state.state, state.reason) == (PowerState.RUNNING, StateReason.MIGRATED)

        eventually(estate, arrived, "the arrival")
        eventually(estate, lambda: state_or_none(first, estate.guest) is None, "the source's forgetting")

    @needs(Feature.MIGRATION, Feature.SNAPSHOTS)
    def test_snapshots_stand_in_the_way(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        first.snapshot_create(estate.guest, "s", "")
        with pytest.raises(MigrationRefused):
            first.migrate(estate.guest, estate.second_uri, estate.spec)
        assert first.guest_state(estate.guest).state is PowerState.RUNNING
        assert [snapshot.name for snapshot in first.list_snapshots(estate.guest)] == ["s"]
        assert state_or_none(second, estate.guest) is None

    @needs(Feature.MIGRATION, Feature.SNAPSHOTS)
    def test_snapshots_are_carried_past_a_migration(
        self, estate: Estate, first: Hypervisor, second: Hypervisor
    ) -> None:
        first.snapshot_create(estate.guest, "base", "")
        first.snapshot_create(estate.guest, "next", "")
        saved = first.snapshots_export(estate.guest)
        before = {snapshot.name: snapshot for snapshot in first.list_snapshots(estate.guest)}
        first.snapshots_forget(estate.guest, [one.name for one in saved])
        first.migrate(estate.guest, estate.second_uri, estate.spec)
        second.snapshots_restore(estate.guest, saved)
        assert {snapshot.name: snapshot for snapshot in second.list_snapshots(estate.guest)} == before
        second.snapshot_revert(estate.guest, "base")
        assert second.guest_state(estate.guest).state is PowerState.RUNNING

    @needs(Feature.MIGRATION, Feature.POSTCOPY)
    def test_a_migration_switches_to_postcopy(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        with migrating(estate, first, replace(estate.slow_spec, allow_postcopy=True)) as outcome:
            eventually(estate, lambda: is_copying(first, estate.guest), "the copying")
            first.migration_start_postcopy(estate.guest)
            eventually(
                estate, lambda: second.guest_state(estate.guest).state is PowerState.RUNNING, "running on the second"
            )
            first_now = state_or_none(first, estate.guest)
            assert first_now is None or first_now.state is not PowerState.RUNNING
        outcome.result()
        eventually(estate, lambda: state_or_none(first, estate.guest) is None, "the source's forgetting")
        assert second.guest_state(estate.guest).state is PowerState.RUNNING

    @needs(Feature.MIGRATION, Feature.POSTCOPY)
    def test_postcopy_must_have_been_allowed(self, estate: Estate, first: Hypervisor) -> None:
        with migrating(estate, first, estate.slow_spec) as outcome:
            eventually(estate, lambda: is_copying(first, estate.guest), "the copying")
            with pytest.raises(HypervisorError):
                first.migration_start_postcopy(estate.guest)
            first.migration_set_bandwidth(estate.guest, 0)
        outcome.result()

    @needs_migration
    def test_the_rate_at_which_a_guest_writes_its_memory_is_measured(self, estate: Estate, first: Hypervisor) -> None:
        assert first.dirty_rate(estate.guest) >= 0
        with pytest.raises(GuestNotFound):
            first.dirty_rate("00000000-0000-4000-8000-000000000000")
        first.force_off(estate.guest)
        eventually(estate, lambda: first.guest_state(estate.guest).state is PowerState.SHUT_OFF, "the power going off")
        with pytest.raises(GuestStateInvalid):
            first.dirty_rate(estate.guest)

    @needs_migration
    def test_a_guest_lacks_nothing_where_it_is(self, estate: Estate, first: Hypervisor) -> None:
        needs = first.guest_needs(estate.guest)
        definition = first.guest_definition(estate.guest)
        assert (needs.virt_type, needs.machine, needs.nics) == (
            definition.virt_type, definition.machine, definition.nics,
        )  # fmt: skip
        assert (needs.ties, needs.busy_disks) == ((), ())
        assert first.missing_for(needs) == HostLacks(unproved=needs.files)
        with pytest.raises(GuestNotFound):
            first.guest_needs(CANARY)

    @needs_migration
    def test_what_a_host_lacks_is_named(self, estate: Estate, first: Hypervisor) -> None:
        needs = first.guest_needs(estate.guest)
        nic = NIC("52:54:00:00:00:09", "network", "nowhere")
        asked = replace(needs, machine="pc-q35-99.1", nics=(*needs.nics, nic), filters=("clean-traffic", "nobodys"))
        found = first.missing_for(asked)
        assert (found.networks, found.filters) == (("nowhere",), ("nobodys",))
        assert "pc-q35-99.1" in found.machine
        assert first.missing_for(needs) == HostLacks(unproved=needs.files)

    @needs_migration
    def test_a_canary_travels_and_is_gone(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        first.canary_start(CANARY)
        there = {guest.uuid: guest for guest in first.list_guests()}[CANARY]
        assert (there.name, there.memory_mib, there.persistent) == (canary_name(CANARY), CANARY_MIB, False)
        assert there.state is PowerState.PAUSED
        with pytest.raises(HypervisorError):
            first.canary_start(CANARY)
        spec = MigrationSpec(persistent=False, auto_converge=False)  # nothing of it is on a disk: no need to be unsafe
        first.migrate(CANARY, estate.second_uri, spec)
        eventually(estate, lambda: state_or_none(first, CANARY) is None, "the source's forgetting")
        arrived = second.guest_state(CANARY)
        assert (arrived.name, arrived.persistent) == (canary_name(CANARY), False)
        second.force_off(CANARY)
        assert state_or_none(second, CANARY) is None

    @needs_migration
    def test_a_canary_that_was_left_behind_is_taken_away(self, estate: Estate, first: Hypervisor) -> None:
        first.canary_start(CANARY)
        first.force_off(CANARY)
        assert state_or_none(first, CANARY) is None

    @needs_migration
    def test_hosts_find_out_that_they_share_a_pool(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        here, there = first.storage_pools(), second.storage_pools()
        shared = sorted(here.keys() & there.keys())
        assert shared
        pool = here[shared[0]]
        name = f"{MARKER_PREFIX}contract-1"
        assert not first.volume_seen(pool, name)
        second.volume_create(there[shared[0]], name, capacity_bytes=2**20)
        assert first.volume_seen(pool, name)
        with pytest.raises(HypervisorError):
            second.volume_create(there[shared[0]], name, capacity_bytes=2**20)
        with pytest.raises(HypervisorError):
            second.markers_remove(there[shared[0]], "")
        second.markers_remove(there[shared[0]], f"{MARKER_PREFIX}contract-")
        assert not first.volume_seen(pool, name)
        second.markers_remove(there[shared[0]], f"{MARKER_PREFIX}contract-")
        with pytest.raises(HypervisorError):
            first.volume_seen("no-such-pool", name)

    @needs_migration
    def test_a_volume_is_created_and_removed(self, estate: Estate, first: Hypervisor) -> None:
        pool = next(iter(first.storage_pools().values()))
        assert first.pool_free(pool) > 2**20
        first.volume_create(pool, "contract.qcow2", capacity_bytes=2**22, image_format="qcow2")
        assert first.volume_seen(pool, "contract.qcow2")
        for _ in ("once", "and again"):
            first.volume_remove(pool, "contract.qcow2")
        assert not first.volume_seen(pool, "contract.qcow2")

    @needs_migration
    def test_the_disks_of_a_guest_have_a_size_and_are_in_use(self, estate: Estate, first: Hypervisor) -> None:
        disk = next(disk for disk in first.guest_definition(estate.guest).disks if not disk.read_only)
        assert first.disk_capacity(estate.guest, disk.target) >= 2**20
        assert disk.source in first.files_in_use()
        with pytest.raises(GuestNotFound):
            first.disk_capacity(CANARY, disk.target)
