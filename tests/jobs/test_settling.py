"""After a migration whose worker died: what the hosts are found to say, and what Slipway does, on the simulated estate.
The decisions themselves are in `test_truth.py`; the same by real faults is the crash list.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.errors import GuestBusy, GuestNotFound, HypervisorError
from hypervisor.simulated_driver import accidents, faults
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.driver import SimulatedHypervisor as Simulated
from hypervisor.simulated_driver.faults import Fault
from hypervisor.types import PowerState, StateReason
from jobs import sweeper
from jobs.controls import control_ask
from jobs.engine.context import JobContext
from jobs.models import Job, JobLock
from jobs.operations.migrate import convergence, monitor, obeying, passes, reconnecting, settle
from jobs.operations.migrate import operation as migrate
from jobs.operations.migrate.convergence import Do, Move
from jobs.operations.migrate.reconnecting import can_resume
from jobs.states import State
from tests.jobs.test_controls import busy, meanwhile  # noqa: F401 - a fixture
from tests.jobs.test_crash_points import Killed

pytestmark = pytest.mark.django_db

RUNNING, PAUSED, OFF = PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUT_OFF


@pytest.fixture(autouse=True)
def _quickly(monkeypatch, settings):
    settings.SLIPWAY_HEARTBEAT_SECONDS = 60
    monkeypatch.setattr(settle, "READINGS_APART", 0.05)
    monkeypatch.setattr(settle, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(reconnecting, "FIRST_PAUSE", 0.05)


@pytest.fixture
def orphaned(estate, monkeypatch) -> Job:
    """A migration of a guest with a snapshot, whose worker died as it made the call; it is queued again."""
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(migrate, "_blocking_call", die)
    job = estate.submit("vm.migrate")
    with pytest.raises(Killed):
        estate.run(job)
    return again(job)


def again(job: Job) -> Job:
    """The job, queued again as after a lost worker or a host that did not answer."""
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1), not_before=None)
    sweeper.sweep()
    Job.objects.filter(pk=job.pk).update(not_before=None)
    sweeper.sweep()
    return Job.objects.get(pk=job.pk)


def on(estate, host: str):
    return connect(next(row for row in estate.hosts if row.name == host).uri)


def says(estate, host: str) -> tuple[PowerState, StateReason] | None:
    """What a host says of the VM; None when it does not know it."""
    try:
        state = on(estate, host).guest_state(str(estate.vm.uuid))
    except GuestNotFound:
        return None
    return state.state, state.reason


def snapshots(estate, host: str) -> list[str]:
    return [info.name for info in on(estate, host).list_snapshots(str(estate.vm.uuid))]


def begun(job: Job) -> list[tuple[str, str]]:
    """The effects that were begun after the call: (call, host)."""
    events = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_INTENT).order_by("pk")
    found = [(event.detail["call"], event.detail["host"]) for event in events]
    return found[found.index(("migrate", "left")) + 1 :]


def put(estate, left, right) -> None:
    """Let the hosts say that; None: nothing."""
    uuid = str(estate.vm.uuid)
    if right is not None:
        simulated.copy_guest(uuid, "left", "right", *right)
    if left is None:
        simulated.remove_guest("left", uuid)
    else:
        simulated.set_state("left", uuid, *left)


def test_a_definition_that_a_restarted_daemon_left_behind_is_removed(estate, orphaned):
    put(estate, (OFF, StateReason.MIGRATED), (RUNNING, StateReason.MIGRATED))
    job = estate.run(orphaned)
    assert job.state == State.SUCCEEDED, job.error_message
    assert says(estate, "left") is None
    assert begun(job)[0] == ("undefine", "left")
    assert snapshots(estate, "right") == ["base"]


@pytest.mark.parametrize(
    ("left", "right", "first"),
    [
        ((OFF, StateReason.CRASHED), (RUNNING, StateReason.POSTCOPY), ("force_off", "right")),
        ((OFF, StateReason.CRASHED), (RUNNING, StateReason.POSTCOPY_FAILED), ("force_off", "right")),
        ((PAUSED, StateReason.POSTCOPY), None, ("force_off", "left")),
        ((PAUSED, StateReason.POSTCOPY_FAILED), (OFF, StateReason.CRASHED), ("force_off", "left")),
        ((OFF, StateReason.CRASHED), (PAUSED, StateReason.MIGRATION), ("force_off", "right")),
    ],
)
def test_a_guest_that_lost_a_part_of_itself_is_off_with_its_snapshots_and_the_job_says_so(
    estate, orphaned, left, right, first
):
    put(estate, left, right)
    job = estate.run(orphaned)
    assert (job.state, job.error_code) == (State.FAILED, "guest_stopped")
    assert says(estate, "left")[0] is OFF
    assert says(estate, "right") is None
    assert begun(job)[0] == first
    assert snapshots(estate, "left") == ["base"]
    assert not JobLock.objects.exists()


def test_a_guest_that_runs_on_both_is_touched_by_nobody_and_the_job_waits(estate, orphaned):
    put(estate, (RUNNING, StateReason.UNPAUSED), (RUNNING, StateReason.MIGRATED))
    job = estate.run(orphaned)
    assert (job.state, JobLock.objects.count()) == (State.LOST, 1)
    assert "both run" in job.error_message
    assert begun(job) == []


def test_a_request_that_hung_in_a_host_is_not_taken_for_one_that_failed(estate, orphaned, monkeypatch):
    """The source runs it and has no job yet: the dead worker's request is still on its way there."""
    monkeypatch.setattr(settle, "READINGS_APART", 1.0)
    arrives = threading.Timer(0.3, put, (estate, None, (RUNNING, StateReason.MIGRATED)))
    arrives.start()
    job = estate.run(orphaned)
    arrives.join()
    assert job.state == State.SUCCEEDED, job.error_message
    assert snapshots(estate, "right") == ["base"]


def test_what_has_changed_since_the_second_reading_is_left_alone(estate, orphaned, monkeypatch):
    """The shell at the destination comes to life between the decision to remove it and the call."""
    put(estate, (RUNNING, StateReason.UNPAUSED), (PAUSED, StateReason.MIGRATION))
    effect = JobContext.undo_effect

    def late(context, call, do, **facts):
        if call == "force_off":
            simulated.set_state("right", str(estate.vm.uuid), RUNNING, StateReason.MIGRATED)
            simulated.set_state("left", str(estate.vm.uuid), OFF, StateReason.MIGRATED)
        return effect(context, call, do, **facts)

    monkeypatch.setattr(JobContext, "undo_effect", late)
    job = estate.run(orphaned)
    assert job.state == State.SUCCEEDED, job.error_message
    assert says(estate, "right") == (RUNNING, StateReason.MIGRATED)


def test_a_post_copy_that_broke_off_goes_on_when_the_link_is_back(busy, monkeypatch):  # noqa: F811
    faults.plant(Fault.POSTCOPY_FAILS, "left", str(busy.vm.uuid), times=3)
    meanwhile(monkeypatch, lambda job: control_ask(actor=busy.user, job=job, verb="start_post_copy"))
    monkeypatch.setattr(obeying, "LOOK_EVERY", 0.0)
    job = busy.do("vm.migrate", bandwidth_mib=200, policy="assured")
    assert job.state == State.SUCCEEDED, job.error_message
    assert (says(busy, "left"), says(busy, "right")) == (None, (RUNNING, StateReason.MIGRATED))
    tries = [call for call, _host in begun(job) if call not in ("mark_operation", "set_autostart")]
    assert tries == ["migration_start_postcopy"] + ["migration_resume"] * 3, "and nothing else was touched"


def test_a_libvirt_that_would_crash_over_it_is_not_asked_to(estate, orphaned, monkeypatch):
    put(estate, (PAUSED, StateReason.POSTCOPY_FAILED), (RUNNING, StateReason.POSTCOPY_FAILED))
    describe = Simulated.describe_host
    old = {"hypervisor": "QEMU", "library_version": (11, 3, 0)}
    monkeypatch.setattr(Simulated, "describe_host", lambda host: replace(describe(host), **old))
    job = estate.run(orphaned)
    assert (job.state, JobLock.objects.count()) == (State.LOST, 1)
    assert "update libvirt" in job.error_message
    assert begun(job) == []


def test_which_versions_can_go_on_with_a_post_copy():
    able = [(8, 5, 0), (9, 0, 0), (11, 1, 0), (11, 4, 0), (12, 0, 0)]
    unable = [(8, 4, 0), (11, 2, 0), (11, 3, 0), (11, 3, 9)]
    assert [can_resume(version) for version in able + unable] == [True] * len(able) + [False] * len(unable)


def test_a_worker_that_slept_through_its_lease_makes_no_call(estate, monkeypatch, settings):
    """It was stopped between the intent and the call; another one may have brought the job to its end meanwhile."""
    settings.SLIPWAY_LEASE_SECONDS = 1.0
    marked = Simulated.mark_operation

    def sleep_in(host, uuid, operation_id):
        marked(host, uuid, operation_id)
        time.sleep(1.1)

    monkeypatch.setattr(Simulated, "mark_operation", sleep_in)
    job = estate.do("vm.migrate")
    assert job.state == State.RUNNING, "it is the next worker's"
    assert says(estate, "right") is None
    assert on(estate, "left").completed_migration(str(estate.vm.uuid)) is None
    monkeypatch.setattr(Simulated, "mark_operation", marked)
    job = estate.run(again(job))
    assert (job.state, job.error_code) == (State.FAILED, "migration_failed")
    assert on(estate, "left").guest_definition(str(estate.vm.uuid)).operation_id == ""


def test_a_guest_that_dies_while_it_is_verified_is_said_to_have_stopped(estate, monkeypatch):
    def dies(host, uuid):
        accidents.crash_guest("right", uuid)
        raise HypervisorError("Unable to read from monitor: Connection reset by peer.")

    monkeypatch.setattr(Simulated, "disk_errors", dies)
    job = estate.do("vm.migrate")
    assert (job.state, job.error_code) == (State.FAILED, "guest_stopped")
    assert says(estate, "right")[0] is OFF


def test_a_call_that_does_not_come_back_is_not_waited_for(estate, monkeypatch):
    """Seen of a destination whose QEMU hung: its daemon never told the source how it had ended."""
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "5")  # long enough for a look at it
    monkeypatch.setattr(monitor, "CALL_COMES_BACK_WITHIN", 0.3)
    over, migrated = threading.Event(), Simulated.migrate

    def hangs(host, uuid, destination, spec):
        migrated(host, uuid, destination, spec)
        over.wait(60)

    monkeypatch.setattr(Simulated, "migrate", hangs)
    try:
        job = estate.do("vm.migrate")
    finally:
        over.set()
    assert job.state == State.SUCCEEDED, job.error_message
    assert says(estate, "right") == (RUNNING, StateReason.MIGRATED)


@pytest.fixture
def steered(busy, monkeypatch):  # noqa: F811
    """A guest that needs a longer pause than the first limit; what the host is asked for fails while `failing` has
    anything. Returns (estate, failing, the limits that were asked for).
    """
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "5")  # slow enough to fail twice before it converges by itself
    monkeypatch.setattr(convergence, "RAISE_EVERY_SECONDS", 0.3)
    monkeypatch.setattr(passes, "WINDOW_SECONDS", 2.0)
    monkeypatch.setattr(monitor, "STEERS_AGAIN_AFTER", 0.1)
    monkeypatch.setattr(settle, "PATIENCE", 2.0)
    set_downtime, failing, asked = Simulated.migration_set_downtime, [], []

    def busy_or_set(host, uuid, milliseconds):
        asked.append(milliseconds)
        if len(asked) > 1 and failing:
            failing.pop()
            raise GuestBusy("The host works on something else.")
        return set_downtime(host, uuid, milliseconds)

    monkeypatch.setattr(Simulated, "migration_set_downtime", busy_or_set)
    return busy, failing, asked


def test_a_host_that_is_busy_for_a_moment_is_steered_later_and_watched_all_along(steered, monkeypatch):
    estate, failing, asked = steered
    failing += [1, 1]

    def wants_a_longer_pause(passes, policy, standing, *, memory_bytes):
        return convergence.WAIT if standing.downtime_ms >= 200 else Move(Do.RAISE_DOWNTIME, 200)

    monkeypatch.setattr(monitor, "next_move", wants_a_longer_pause)
    job = estate.do("vm.migrate", policy="pause-ok", bandwidth_mib=300)
    assert job.state == State.SUCCEEDED, job.error_message
    assert asked == [150, 200, 200, 200], "what failed twice was asked for again"
    assert job.result["downtime_event_gap_ms"] is not None, "the hosts' events were listened to until the end"
    assert job.steps.get(name="migrate").detail == ""


def test_a_migration_that_cannot_be_steered_is_stopped_and_says_so(steered):
    estate, failing, asked = steered
    faults.plant(Fault.MIGRATION_NEVER_CONVERGES, "left", str(estate.vm.uuid))
    failing += [1] * 1000
    job = estate.do("vm.migrate", policy="pause-ok", bandwidth_mib=300)
    assert (job.state, job.error_code) == (State.FAILED, "not_converging")
    assert f"failed {monitor.MOST_FAILURES} times" in job.error_message
    assert len(asked) == 1 + monitor.MOST_FAILURES
    assert (says(estate, "left")[0], says(estate, "right")) == (RUNNING, None)
    assert not JobLock.objects.exists()
