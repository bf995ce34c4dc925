"""The operations on a simulated estate: what they do, what they leave behind, and how they fail."""

from __future__ import annotations

import threading
import time
from typing import ClassVar, Self

import pytest
from django.db import connection

from access.gate import SYSTEM
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.echoes import Silence
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.faults import Fault, plant
from hypervisor.simulated_driver.machine import Upgrade
from hypervisor.types import PowerState, StateReason
from inventory.models import Snapshot
from inventory.services.migration import segment_set_migration, vm_set_migration
from jobs.models import Job, JobLock, Step
from jobs.operations.migrate import convergence, passes
from jobs.operations.migrate import operation as migrate
from jobs.services import job_cancel
from jobs.states import State


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db):
    """A worker's threads see only what was committed."""


def effects(job) -> list[tuple[str, str]]:
    """Effect calls and outcomes in the record, in order."""
    rows = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_OUTCOME).order_by("pk")
    return [(row.detail["call"], row.outcome) for row in rows]


def on_left(estate):
    return connect(estate.hosts[0].uri)


def test_every_power_operation_ends_in_its_state(estate):
    for operation, state in (
        ("vm.reboot", "running"),
        ("vm.shutdown", "shut_off"),
        ("vm.start", "running"),
        ("vm.force_off", "shut_off"),
    ):
        job = estate.do(operation)
        estate.vm.refresh_from_db()
        assert (job.state, estate.vm.power_state) == (State.SUCCEEDED, state), job.error_message
        assert job.percent == 100
    assert not JobLock.objects.exists()


def test_a_guest_that_ignores_the_shutdown_is_named_and_left_running(estate):
    plant(Fault.SHUTDOWN_IGNORED, "left", str(estate.vm.uuid))
    job = estate.do("vm.shutdown", timeout_seconds=5)
    assert (job.state, job.error_code) == (State.FAILED, "guest_ignored_shutdown")
    assert on_left(estate).guest_state(str(estate.vm.uuid)).state is PowerState.RUNNING


def test_each_effect_has_one_intent_before_and_one_outcome_after(estate):
    job = estate.do("snapshot.create", name="one")
    rows = list(AuditEvent.objects.filter(job_id=str(job.pk)).order_by("pk").values_list("action", "outcome"))
    assert rows == [
        (EventAction.JOB_STARTED, Outcome.OK),
        (EventAction.EFFECT_INTENT, Outcome.INTENT),
        (EventAction.EFFECT_OUTCOME, Outcome.OK),
        (EventAction.JOB_SUCCEEDED, Outcome.OK),
    ]


def test_a_snapshot_is_taken_reverted_to_and_deleted(estate):
    assert (
        estate.do("snapshot.create", name="base", description="as <installed>", baseline=True).state == State.SUCCEEDED
    )
    row = Snapshot.objects.get()
    assert (row.is_baseline, row.description, row.created_by) == (True, "as <installed>", estate.user)
    assert estate.do("snapshot.create", name="two").state == State.SUCCEEDED
    job = estate.do("snapshot.revert", snapshot="base", safety=False)
    assert job.state == State.SUCCEEDED, job.error_message
    assert Snapshot.objects.get(name="base").is_current
    assert estate.do("snapshot.delete", snapshot="two").state == State.SUCCEEDED
    assert list(Snapshot.objects.values_list("name", flat=True)) == ["base"]


def test_a_failed_revert_leads_back_to_a_running_vm_and_says_so(estate):
    estate.do("snapshot.create", name="base")
    plant(Fault.SNAPSHOT_REVERT_FAILS, "left", str(estate.vm.uuid))
    job = estate.do("snapshot.revert", snapshot="base")
    assert (job.state, job.error_code) == (State.FAILED, "snapshot_failed")
    assert "started again" in job.error_message
    assert on_left(estate).guest_state(str(estate.vm.uuid)).state is PowerState.RUNNING
    assert effects(job) == [("snapshot_create", "ok"), ("snapshot_revert", "failed"), ("start", "ok")]


def test_a_snapshot_that_leaves_the_vm_paused_is_mended(estate):
    """What a daemon that dies during a save leaves behind for ever."""
    plant(Fault.SNAPSHOT_STUCK, "left", str(estate.vm.uuid))
    job = estate.do("snapshot.create", name="one")
    while not job.is_over:
        job = again(estate, job)
    assert job.is_over
    state = on_left(estate).guest_state(str(estate.vm.uuid))
    assert state.state is PowerState.RUNNING, (state, job.error_message)
    assert not JobLock.objects.exists()


def again(estate, job: Job) -> Job:
    """What the sweeper does with a lost job, without its waiting."""
    from jobs.transitions import advance

    if job.state == State.LOST:
        advance(job, State.QUEUED)
    return estate.run(job)


def test_a_migration_carries_the_snapshots_and_is_measured(estate):
    estate.do("snapshot.create", name="base", baseline=True)
    estate.do("snapshot.create", name="later")
    job = estate.do("vm.migrate")
    assert job.state == State.SUCCEEDED, job.error_message
    estate.vm.refresh_from_db()
    assert estate.vm.host == estate.hosts[1]
    result = job.result
    assert (result["source"], result["destination"], result["post_copy"]) == ("left", "right", False)
    assert result["downtime_ms"] > 0
    assert {"preparing", "stop-and-copy"} <= {phase["phase"] for phase in result["phases"]}
    there = connect(estate.hosts[1].uri)
    listed = {snapshot.name: snapshot for snapshot in there.list_snapshots(str(estate.vm.uuid))}
    assert set(listed) == {"base", "later"}
    assert listed["later"].is_current
    assert Snapshot.objects.filter(missing_since=None).count() == 2
    assert there.guest_definition(str(estate.vm.uuid)).operation_id == ""
    for name in ("runs", "left", "persistent", "alive", "disks_well", "snapshots", "autostart"):
        assert Step.objects.get(job=job, name=name).state == Step.State.DONE
    assert estate.do("snapshot.revert", snapshot="base").state == State.SUCCEEDED


def test_progress_only_grows(estate, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "2")
    seen: list[int] = []
    job = estate.submit("vm.migrate", bandwidth_mib=400)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(Job.objects.values_list("percent", flat=True).get(pk=job.pk))
            time.sleep(0.02)
        connection.close()

    watcher = threading.Thread(target=look)
    watcher.start()
    estate.run(job)
    done.set()
    watcher.join()
    assert job.state == State.SUCCEEDED, job.error_message
    assert seen == sorted(seen)
    assert max(seen) <= 100
    assert any(0 < percent < 99 for percent in seen)


def test_a_migration_that_fails_leaves_all_as_before(estate):
    estate.do("snapshot.create", name="base")
    plant(Fault.MIGRATION_FAILS, "left", str(estate.vm.uuid))
    job = estate.do("vm.migrate")
    assert job.state == State.FAILED
    assert "runs on left, as before" in job.error_message
    assert_at_home(estate, ["base"])


def test_a_cancelled_migration_stays_and_ends_cancelled(estate, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "1")
    estate.do("snapshot.create", name="base")
    job = estate.submit("vm.migrate", bandwidth_mib=50)
    worker = threading.Thread(target=lambda: (estate.run(Job.objects.get(pk=job.pk)), connection.close()))
    worker.start()
    while Job.objects.values_list("phase", flat=True).get(pk=job.pk) != "warm-up":
        time.sleep(0.02)
    job_cancel(actor=estate.user, job=job)
    worker.join()
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.CANCELLED, "cancelled"), job.error_message
    assert_at_home(estate, ["base"])


@pytest.fixture
def stubborn(estate, monkeypatch):
    """The guest writes without end; what takes 40 s is decided within a moment."""
    monkeypatch.setattr(passes, "WINDOW_SECONDS", 0.2)
    monkeypatch.setattr(convergence, "RAISE_EVERY_SECONDS", 0.05)
    plant(Fault.MIGRATION_NEVER_CONVERGES, "left", str(estate.vm.uuid))
    return estate


def test_a_migration_that_never_converges_is_stopped_with_the_reason(stubborn):
    job = stubborn.do("vm.migrate", bandwidth_mib=20)
    assert (job.state, job.error_code) == (State.FAILED, "not_converging"), job.error_message
    assert "MiB/s" in job.error_message
    assert "750 ms are allowed" in job.error_message
    assert_at_home(stubborn, [])


class Listening:
    """Stands in for the echoes, which would be asked of the network; says whether they are asked for still."""

    ask: ClassVar[set[str]] = set()

    def __init__(self, address: str) -> None:
        self.address = address
        self.ask.add(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.ask.discard(self.address)

    def stop(self) -> Silence:
        self.ask.discard(self.address)
        return Silence(77)


@pytest.mark.parametrize(("fault", "state"), [(None, State.SUCCEEDED), (Fault.MIGRATION_FAILS, State.FAILED)])
def test_nobody_listens_to_a_guest_once_its_migration_is_over(estate, monkeypatch, fault, state):
    monkeypatch.setattr(migrate, "Echoes", Listening)
    vm_set_migration(actor=SYSTEM, vm=estate.vm, policy="", address="192.0.2.7")
    if fault is not None:
        plant(fault, "left", str(estate.vm.uuid))
    job = estate.do("vm.migrate")
    assert job.state == state, job.error_message
    assert job.result.get("downtime_outside_ms") == (77 if fault is None else None)
    assert Listening.ask == set()


def test_the_vms_policy_ends_it_where_the_request_names_none(stubborn):
    vm_set_migration(actor=SYSTEM, vm=stubborn.vm, policy="assured", address=None)
    job = stubborn.do("vm.migrate", bandwidth_mib=20)
    assert (job.state, job.params["policy"]) == (State.SUCCEEDED, "assured"), job.error_message
    assert job.result["post_copy"] is True
    assert job.result["downtime_outside_ms"] is None
    assert job.result["downtime_outside_why"] == "no address to measure at is known"


def test_a_request_names_another_policy_than_the_segment(stubborn):
    segment_set_migration(actor=SYSTEM, segment=stubborn.segment, policy="assured")
    job = stubborn.do("vm.migrate", bandwidth_mib=20, policy="gentle")
    assert (job.state, job.params["policy"]) == (State.FAILED, "gentle")


def assert_at_home(estate, snapshots: list[str]) -> None:
    uuid = str(estate.vm.uuid)
    left, right = (connect(host.uri) for host in estate.hosts)
    assert left.guest_state(uuid).state is PowerState.RUNNING
    assert uuid not in {guest.uuid for guest in right.list_guests()}
    assert [snapshot.name for snapshot in left.list_snapshots(uuid)] == snapshots
    assert left.guest_definition(uuid).operation_id == ""
    estate.vm.refresh_from_db()
    assert estate.vm.host == estate.hosts[0]
    assert not JobLock.objects.exists()


def test_a_stale_definition_at_the_destination_is_found_before_it_is_overwritten(estate):
    simulated.copy_guest(str(estate.vm.uuid), "left", "right", PowerState.SHUT_OFF, StateReason.SHUTDOWN)
    job = estate.do("vm.migrate", destination="right")
    assert (job.state, job.error_code) == (State.FAILED, "stale_definition")
    assert effects(job) == []


def test_a_good_patch_is_kept_with_its_snapshot(estate):
    simulated.offer_upgrade(str(estate.vm.uuid), "libssl3", Upgrade("9.9.9-1"))
    job = estate.do("vm.patch", probation_seconds=0)
    assert job.state == State.SUCCEEDED, job.error_message
    assert ("libssl3", "9.9.9-1") in {(p["package"], p["new"]) for p in job.result["packages"]}
    assert Snapshot.objects.get().name == job.result["snapshot"]


def test_a_guest_that_is_up_to_date_is_left_alone(estate):
    job = estate.do("vm.patch", probation_seconds=0)
    while not job.result.get("up_to_date"):
        assert job.state == State.SUCCEEDED, job.error_message
        job = estate.do("vm.patch", probation_seconds=0)
    assert "guest_apply" not in dict(effects(job))
    assert "snapshot_create" not in dict(effects(job))


def test_a_broken_patch_is_rolled_back_and_proven(estate):
    simulated.offer_upgrade(str(estate.vm.uuid), "libssl3", Upgrade("9.9.9-1", broken=True))
    job = estate.do("vm.patch", probation_seconds=0)
    assert (job.state, job.error_code) == (State.FAILED, "patch_failed"), job.error_message
    assert job.result["rolled_back"] is True
    assert "Rolled back" in job.error_message
    assert on_left(estate).guest_state(str(estate.vm.uuid)).state is PowerState.RUNNING


@pytest.mark.parametrize("fault", [Fault.AGENT_SILENT, Fault.AGENT_GARBAGE])
def test_an_agent_that_does_not_answer_sensibly_stops_the_patch_before_it_starts(estate, fault):
    plant(fault, "left", str(estate.vm.uuid))
    job = estate.do("vm.patch")
    assert job.state == State.FAILED
    assert effects(job) == []
