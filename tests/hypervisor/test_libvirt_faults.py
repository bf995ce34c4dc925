"""The libvirt driver on real hosts that hang, die and come back, and with guests in unusual states."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import libvirt
import pytest

from hypervisor.errors import (
    GuestBusy,
    GuestStateInvalid,
    HostUnreachable,
    HypervisorError,
    MigrationAborted,
    MigrationFailed,
    MigrationRefused,
    SnapshotFailed,
)
from hypervisor.libvirt_driver.calls import Calls
from hypervisor.protocol import Hypervisor
from hypervisor.types import Activity, PowerState, StateReason
from lab.estate import Lab
from lab.virsh import virsh
from tests.hypervisor.contract_base import Feature, Recorder, eventually, state_or_none
from tests.hypervisor.contract_basics import domain_xml
from tests.hypervisor.lab_estate import LabEstate

pytestmark = pytest.mark.lab

#: Keepalive gives a silent host up after 20 s; see `handles`.
KEEPALIVE_SECONDS = 20


@pytest.fixture(scope="module")
def lab_estate(hosts: Lab) -> Iterator[LabEstate]:
    estate = LabEstate(hosts, "tiny", frozenset(Feature) - {Feature.AGENT})
    yield estate
    estate.close()


@pytest.fixture
def estate(lab_estate: LabEstate) -> LabEstate:
    lab_estate.reset()
    return lab_estate


@pytest.fixture
def first(estate: LabEstate) -> Iterator[Hypervisor]:
    connection = estate.open(estate.first_uri)
    yield connection
    connection.close()


@pytest.fixture
def second(estate: LabEstate) -> Iterator[Hypervisor]:
    connection = estate.open(estate.second_uri)
    yield connection
    connection.close()


@contextmanager
def in_thread(function: Callable[[], object]) -> Iterator[Future[object]]:
    """Run something beside the test; its end is waited for."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool.submit(function)
    finally:
        pool.shutdown(wait=True)


@contextmanager
def hung_qemu(estate: LabEstate) -> Iterator[None]:
    """The guest's QEMU does not answer."""
    pid = estate.lab.qemu_pid(1, estate.name)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def longest(calls: int, call: Callable[[], object]) -> float:
    """The longest of some calls one after the other, in seconds."""
    times = []
    for _ in range(calls):
        began = time.monotonic()
        call()
        times.append(time.monotonic() - began)
    return max(times)


def test_a_host_that_hangs_is_unreachable_after_keepalive(estate: LabEstate, first: Hypervisor) -> None:
    watcher = Recorder(first)
    other = estate.open(estate.first_uri)
    estate.lab.stop_daemon("host1")
    try:
        began = time.monotonic()
        with in_thread(lambda: estate.open(estate.first_uri)) as opening:
            with pytest.raises(HostUnreachable):
                first.guest_state(estate.guest)
            assert time.monotonic() - began < KEEPALIVE_SECONDS + 5
            assert not first.is_alive()
            with pytest.raises(HostUnreachable):
                opening.result(KEEPALIVE_SECONDS + 10)
        eventually(estate, lambda: watcher.closed, "the end of the connection")
        assert "keepalive" in watcher.closed[0]
        began = time.monotonic()
        first.close()
        other.close()
        assert time.monotonic() - began < 5
    finally:
        estate.lab.continue_daemon("host1")
    again = estate.open(estate.first_uri)
    assert again.guest_state(estate.guest).state is PowerState.RUNNING
    again.close()
    assert len(watcher.closed) == 1


def test_a_close_frees_callers_of_a_host_that_hangs(estate: LabEstate, first: Hypervisor) -> None:
    estate.lab.stop_daemon("host1")
    try:
        with in_thread(lambda: first.guest_state(estate.guest)) as asking:
            calls: Calls = first._calls  # type: ignore[attr-defined]
            eventually(estate, lambda: calls._waiting, "a call under way")
            began = time.monotonic()
            first.close()
            with pytest.raises(HostUnreachable):
                asking.result(5)
            assert time.monotonic() - began < 5
    finally:
        estate.lab.continue_daemon("host1")


def open_handles() -> int:
    """libvirt handles in this process that were not let go."""
    return sum(type(one) is libvirt.virConnect and one._o is not None for one in gc.get_objects())


def test_a_daemon_that_is_killed_is_told_once_and_comes_back(estate: LabEstate, first: Hypervisor) -> None:
    estate.close()
    before = open_handles()
    watcher = Recorder(first)
    estate.lab.kill_daemon("host1")
    try:
        eventually(estate, lambda: watcher.closed, "the end of the connection")
        assert not first.is_alive()
        with pytest.raises(HostUnreachable):
            first.list_guests()
        with pytest.raises(HostUnreachable):
            first.watch(lambda _event: None, lambda _reason: None)
        with pytest.raises(HostUnreachable):
            estate.open(estate.first_uri)
    finally:
        estate.lab.restart_daemon("host1")
    again = estate.open(estate.first_uri)
    assert again.guest_state(estate.guest).state is PowerState.RUNNING
    assert len(watcher.closed) == 1
    again.close()
    watcher.subscription.stop()
    first.close()
    eventually(estate, lambda: open_handles() == before - 1, "all handles let go")


def test_a_guest_that_hangs_delays_nobody_else(estate: LabEstate, first: Hypervisor) -> None:
    """Also not on the same connection: libvirt's own would stand still for 5 s now and then."""
    first.list_guests()
    with hung_qemu(estate), in_thread(lambda: first.disk_errors(estate.guest)) as hanging:
        calls: Calls = first._calls  # type: ignore[attr-defined]
        eventually(estate, lambda: calls._waiting, "a call under way")
        assert longest(100, first.list_guests) < 1
        assert longest(100, lambda: first.guest_state(estate.guest)) < 1
        assert longest(20, lambda: first.guest_definition(estate.guest)) < 1
        assert not hanging.done()
        fresh = estate.open(estate.first_uri)
        assert longest(5, fresh.list_guests) < 1
        fresh.close()
        os.kill(estate.lab.qemu_pid(1, estate.name) or 0, signal.SIGCONT)
        assert hanging.result(30) == []


def test_a_guest_whose_memory_is_being_saved_is_busy(estate: LabEstate, first: Hypervisor) -> None:
    with in_thread(lambda: first.snapshot_create(estate.guest, "s", "")) as saving:
        while first.guest_state(estate.guest).state is PowerState.RUNNING:
            assert not saving.done()
        began = time.monotonic()
        with pytest.raises(GuestBusy):
            first.activity(estate.guest)
        assert time.monotonic() - began < 1
        saving.result()
    assert first.activity(estate.guest) is Activity.NONE
    assert first.guest_state(estate.guest).state is PowerState.RUNNING


def copying(estate: LabEstate, host: Hypervisor) -> None:
    """Wait until memory is being sent."""
    eventually(estate, lambda: host.migration_progress(estate.guest).memory_total_bytes, "the copying")


@pytest.mark.parametrize(("killed", "expected"), [("host1", HostUnreachable), ("host2", MigrationFailed)])
def test_a_daemon_that_dies_during_a_migration_leaves_the_guest_on_the_source(
    estate: LabEstate, first: Hypervisor, second: Hypervisor, killed: str, expected: type[HypervisorError]
) -> None:
    spec = replace(estate.slow_spec, bandwidth_mib=2)
    with in_thread(lambda: first.migrate(estate.guest, estate.second_uri, spec)) as migrating:
        copying(estate, first)
        estate.lab.kill_daemon(killed)
        try:
            with pytest.raises(HypervisorError) as caught:
                migrating.result(90)
            assert type(caught.value) is expected
        finally:
            estate.lab.restart_daemon(killed)
    source, destination = estate.open(estate.first_uri), estate.open(estate.second_uri)
    eventually(estate, lambda: source.activity(estate.guest) is Activity.NONE, "the source's own recovery")
    assert source.guest_state(estate.guest).state is PowerState.RUNNING
    eventually(estate, lambda: state_or_none(destination, estate.guest) is None, "the destination's clearing up")
    source.close()
    destination.close()


def test_a_paused_guest_arrives_paused(estate: LabEstate, first: Hypervisor, second: Hypervisor) -> None:
    virsh(estate.first_uri, "suspend", estate.guest)
    assert first.guest_state(estate.guest).reason is StateReason.USER
    first.migrate(estate.guest, estate.second_uri, estate.spec)
    assert second.guest_state(estate.guest).state is PowerState.PAUSED
    second.resume(estate.guest)
    assert second.guest_state(estate.guest).state is PowerState.RUNNING


def test_a_transient_guest_migrates_and_leaves_nothing(
    estate: LabEstate, first: Hypervisor, second: Hypervisor
) -> None:
    first.undefine(estate.guest)
    assert not first.guest_state(estate.guest).persistent
    assert not next(one for one in first.list_guests() if one.uuid == estate.guest).persistent
    definition = first.guest_definition(estate.guest)
    assert (definition.persistent, definition.autostart) == (False, False)
    first.mark_operation(estate.guest, "transient")
    with pytest.raises(GuestStateInvalid):
        first.set_autostart(estate.guest, True)
    first.migrate(estate.guest, estate.second_uri, replace(estate.spec, persistent=False))
    assert state_or_none(first, estate.guest) is None
    assert not second.guest_state(estate.guest).persistent
    assert second.guest_definition(estate.guest).operation_id == "transient"
    second.force_off(estate.guest)
    assert state_or_none(second, estate.guest) is None


def test_a_name_that_is_taken_on_the_destination(estate: LabEstate, first: Hypervisor, second: Hypervisor) -> None:
    uuid = second.define(domain_xml(estate.name, "5f0c2f4e-8f3c-4c0e-9d51-0f1f7f6a9b11"))
    try:
        with pytest.raises((MigrationFailed, MigrationRefused), match="already exists"):
            first.migrate(estate.guest, estate.second_uri, estate.spec)
    finally:
        second.undefine(uuid)
    assert first.guest_state(estate.guest).state is PowerState.RUNNING


def test_storage_that_is_not_known_to_be_shared(estate: LabEstate, first: Hypervisor) -> None:
    with pytest.raises(MigrationRefused, match="nsafe"):
        first.migrate(estate.guest, estate.second_uri, replace(estate.spec, unsafe=False))
    assert first.guest_state(estate.guest).state is PowerState.RUNNING


@pytest.mark.parametrize("uri", ["qemu+tcp://no-such-host.invalid/system", "qemu+tcp://127.0.0.1:1/system"])
def test_a_destination_that_is_not_there(estate: LabEstate, first: Hypervisor, uri: str) -> None:
    with pytest.raises((MigrationFailed, MigrationRefused)):
        first.migrate(estate.guest, uri, estate.spec)
    assert first.is_alive()
    assert first.guest_state(estate.guest).state is PowerState.RUNNING


def test_an_abort_while_the_destination_still_prepares(
    estate: LabEstate, first: Hypervisor, second: Hypervisor
) -> None:
    """As early as the source says that it migrates; it must end one way or the other, with one guest."""
    with in_thread(lambda: first.migrate(estate.guest, estate.second_uri, estate.slow_spec)) as migrating:
        eventually(estate, lambda: first.activity(estate.guest) is Activity.MIGRATION_OUT, "the migration")
        while not migrating.done():
            with suppress(GuestStateInvalid):
                first.migration_abort(estate.guest)
        with pytest.raises(MigrationAborted):
            migrating.result()
    assert first.guest_state(estate.guest).state is PowerState.RUNNING
    eventually(estate, lambda: state_or_none(second, estate.guest) is None, "the destination's clearing up")


def test_a_cap_on_bandwidth_does_not_outlive_its_migration(
    estate: LabEstate, first: Hypervisor, second: Hypervisor
) -> None:
    """libvirt keeps a cap on the domain; ours is said anew each time."""
    first.migration_set_bandwidth(estate.guest, 1)
    began = time.monotonic()
    first.migrate(estate.guest, estate.second_uri, estate.spec)
    figures = second.completed_migration(estate.guest)
    assert figures is not None
    assert figures.memory_processed_bytes > 4 * 2**20 * (figures.elapsed_ms / 1000)
    assert time.monotonic() - began < estate.patience_seconds


def test_a_failed_revert_says_so(estate: LabEstate, first: Hypervisor) -> None:
    """A snapshot that is not in the image any more: libvirt stops the guest first, and cannot go on."""
    first.snapshot_create(estate.guest, "lost", "")
    first.force_off(estate.guest)
    pool = estate.lab.places.store / f"{estate.name}.qcow2"
    assert os.system(f"qemu-img snapshot -d lost {pool}") == 0  # noqa: S605
    first.start(estate.guest)
    with pytest.raises(SnapshotFailed, match="lost"):
        first.snapshot_revert(estate.guest, "lost")
    state = first.guest_state(estate.guest)
    assert (state.state, state.reason) == (PowerState.SHUT_OFF, StateReason.FAILED)
    saved = first.snapshots_export(estate.guest)
    first.snapshots_forget(estate.guest, [one.name for one in saved])
    first.start(estate.guest)
    assert first.guest_state(estate.guest).state is PowerState.RUNNING


def test_connections_leave_nothing_open(estate: LabEstate) -> None:
    def opened() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def use() -> None:
        connection = estate.open(estate.first_uri)
        watcher = Recorder(connection)
        connection.list_guests()
        watcher.subscription.stop()
        connection.close()

    use()
    eventually(estate, lambda: opened() == opened())
    before = opened()
    for _ in range(10):
        use()
    eventually(estate, lambda: opened()[0] <= before[0] and opened()[1] <= before[1] + 2, "all handles closed")
