"""A worker that dies at every point where it writes or acts: the next one brings the job to its right end, every time.

Death is an exception that no handler of the engine takes, thrown before or after the n-th commit, or after the n-th
effect; then the lease runs out, the sweeper comes by, and the job is run again. Real SIGKILLs are in `tests/lab`.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.document import lines_of
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.machine import Upgrade
from hypervisor.types import PowerState
from inventory.models import VM, Definition, Snapshot
from jobs import sweeper
from jobs.engine import runner
from jobs.engine.ledger import Ledger
from jobs.errors import OperationFailed
from jobs.models import Job, JobLock
from jobs.operations.migrate import settle
from jobs.operations.migrate.monitor import Monitor
from jobs.operations.patch import operation as patch
from jobs.operations.patch.guest import Guest
from jobs.services import job_cancel
from jobs.states import State
from tests.jobs.reaper import Killed


@pytest.fixture(autouse=True)
def _at_full_speed(transactional_db, estate, monkeypatch):
    """What a worker left behind was committed; and time flies."""
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "200")
    monkeypatch.setattr(settle, "READINGS_APART", 0.05)
    monkeypatch.setattr(patch, "LOOK_EVERY", 0.05)


def outcomes(job, call) -> int:
    events = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_OUTCOME)
    return sum(event.detail["call"] == call for event in events)


def intents(job, call) -> int:
    events = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_INTENT)
    return sum(event.detail["call"] == call for event in events)


def whole(job):
    """What holds at the end of every job."""
    assert not JobLock.objects.exists()
    assert not job.steps.filter(state="running").exists()
    positions = list(job.steps.values_list("position", flat=True))
    assert positions == sorted(set(positions))
    for event in AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_OUTCOME):
        assert outcomes(job, event.detail["call"]) <= intents(job, event.detail["call"])


def running_on(estate) -> list[str]:
    uuid = str(estate.vm.uuid)
    return [
        host.name
        for host in estate.hosts
        if any(g.uuid == uuid and g.state is PowerState.RUNNING for g in connect(host.uri).list_guests())
    ]


def test_a_snapshot_is_taken_once(estate, reaper):
    point = 0
    while job := reaper.hits(estate, "snapshot.create", (point := point + 1), name=f"at-{point}"):
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        assert Snapshot.objects.get(vm=estate.vm, name=f"at-{point}").created_by == estate.user
        assert running_on(estate) == ["left"]
        whole(job)
    assert point > 5


def test_a_snapshot_is_deleted(estate, reaper):
    for name in (f"at-{point}" for point in range(1, 40)):
        connect(estate.hosts[0].uri).snapshot_create(str(estate.vm.uuid), name, "")
    estate.sync()
    point = 0
    while job := reaper.hits(estate, "snapshot.delete", (point := point + 1), snapshot=f"at-{point}"):
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        assert not Snapshot.objects.filter(vm=estate.vm, name=f"at-{point}", missing_since=None).exists()
        whole(job)
    assert point > 5


def test_a_revert_is_made(estate, reaper):
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    point = 0
    while job := reaper.hits(estate, "snapshot.revert", (point := point + 1), snapshot="base"):
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        assert running_on(estate) == ["left"]
        assert Snapshot.objects.get(name="base").is_current
        whole(job)
    assert point > 5


def test_a_migration_is_made_once_or_not_at_all(estate, reaper):
    """Dead between the call's intent and the call, it was never made, and the job says so; else it arrives."""
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    point, here, there = 0, "left", "right"
    ends = set()
    while job := reaper.hits(estate, "vm.migrate", (point := point + 1)):
        ends.add(job.state)
        if job.state == State.SUCCEEDED:
            here, there = there, here
        else:
            assert (job.state, intents(job, "migrate"), outcomes(job, "migrate")) == (State.FAILED, 1, 0), point
        assert intents(job, "migrate") == 1, point
        assert running_on(estate) == [here], point
        listed = {host.name: connect(host.uri).list_guests() for host in estate.hosts}
        assert not listed[there], point
        connection = connect(next(host for host in estate.hosts if host.name == here).uri)
        assert [info.name for info in connection.list_snapshots(str(estate.vm.uuid))] == ["base"], point
        assert connection.guest_definition(str(estate.vm.uuid)).operation_id == "", point
        assert VM.objects.get(pk=estate.vm.pk).host.name == here
        whole(job)
    assert ends == {State.SUCCEEDED, State.FAILED}


def test_a_patch_is_applied_once(estate, reaper):
    uuid, point = str(estate.vm.uuid), 0
    while True:
        version = f"9.9.{(point := point + 1)}-1"
        simulated.offer_upgrade(uuid, "libssl3", Upgrade(version))
        job = reaper.hits(estate, "vm.patch", point, probation_seconds=0)
        if job is None:
            break
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        assert version in [change["new"] for change in job.result["packages"]], point
        assert outcomes(job, "guest_apply") <= 1, point
        assert running_on(estate) == ["left"]
        whole(job)
    assert point > 10


def test_an_approved_definition_is_brought_back(estate, reaper):
    connection, uuid, point = connect(estate.hosts[0].uri), str(estate.vm.uuid), 0
    approved = connection.guest_definition(uuid).xml
    while True:
        connection.redefine(uuid, approved.replace("<vcpu>1</vcpu>", "<vcpu>4</vcpu>"))
        connection.set_autostart(uuid, True)
        estate.sync()
        job = reaper.hits(estate, "vm.restore_definition", (point := point + 1))
        if job is None:
            break
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        found = connection.guest_definition(uuid)
        assert (lines_of(found.xml), found.autostart) == (lines_of(approved), False), point
        assert not Definition.objects.get(vm=estate.vm).differs
        whole(job)
    assert point > 5


@pytest.mark.parametrize(("operation", "state"), [("vm.force_off", "shut_off"), ("vm.shutdown", "shut_off")])
def test_a_power_operation_comes_to_its_end(estate, reaper, operation, state):
    point = 0
    while job := reaper.hits(estate, operation, (point := point + 1)):
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        estate.sync()
        assert estate.vm.power_state == state
        whole(job)
        assert estate.do("vm.start").state == State.SUCCEEDED
    assert point > 5


def test_a_job_that_was_taken_up_is_not_cancelled_before_it_is_settled(estate, reaper):
    """Its dead worker may have left something half-done: whoever takes it up again has to see to that first."""
    reaper.due, reaper.passed = 4, 0
    job = estate.submit("snapshot.create", name="one")
    with pytest.raises(Killed):
        estate.run(job)
    reaper.due = None
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    sweeper.sweep()
    job = job_cancel(actor=estate.user, job=Job.objects.get(pk=job.pk))
    assert (job.state, JobLock.objects.count()) == (State.QUEUED, 1)
    assert estate.run(job).is_over
    whole(job)


def test_a_watcher_that_fails_leaves_the_migration_to_the_next_attempt(estate, monkeypatch):
    """The hypervisors go on without us: the snapshots are put back where the VM then is."""
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "5")  # long enough for a look at it
    read = Monitor.read
    monkeypatch.setattr(Monitor, "read", lambda monitor: 1 / 0)
    job = estate.do("vm.migrate")
    assert (job.state, JobLock.objects.count()) == (State.LOST, 1)
    assert (intents(job, "migrate"), outcomes(job, "migrate")) == (1, 1)
    monkeypatch.setattr(Monitor, "read", read)
    Job.objects.filter(pk=job.pk).update(not_before=None)
    sweeper.sweep()
    job = estate.run(Job.objects.get(pk=job.pk))
    assert job.state == State.SUCCEEDED, job.error_message
    assert running_on(estate) == ["right"]
    there = connect(estate.hosts[1].uri)
    assert [info.name for info in there.list_snapshots(str(estate.vm.uuid))] == ["base"]


@pytest.mark.parametrize("number", [1, 2, 5, 8])
def test_a_transaction_that_the_database_gives_up_is_no_bug_of_the_job(estate, monkeypatch, number):
    """A deadlock's victim, say: nothing of that transaction stands, and the job is taken up again."""
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    commit, made = Ledger.commit, []

    def given_up(ledger, **columns):
        made.append(columns)
        if len(made) == number:
            raise OperationalError("deadlock detected")
        commit(ledger, **columns)

    monkeypatch.setattr(Ledger, "commit", given_up)
    job = estate.do("vm.migrate")
    assert len(made) >= number
    assert (job.state, JobLock.objects.count(), job.traceback) == (State.RUNNING, 1, "")
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    sweeper.sweep()
    job = estate.run(Job.objects.get(pk=job.pk))
    assert job.state == State.SUCCEEDED, job.error_message
    assert running_on(estate) == ["right"]
    for call in ("snapshots_forget", "migrate", "snapshots_restore"):
        assert intents(job, call) == outcomes(job, call)
    assert intents(job, "migrate") == 1


def test_every_effect_that_fails_has_its_outcome(estate, monkeypatch):
    """Also where the guest, and not the hypervisor, says no."""

    def refuse(guest, argv, **_more):
        if "update" in argv:
            raise OperationFailed("guest_command_failed", "no\0 route to the archive")
        return said(guest, argv)

    said = Guest.said
    monkeypatch.setattr(Guest, "said", refuse)
    job = estate.do("vm.patch")
    assert (job.state, job.error_code) == (State.FAILED, "guest_command_failed")
    assert "no␀ route" in job.error_message
    assert (intents(job, "guest_apt_update"), outcomes(job, "guest_apt_update")) == (1, 1)


def test_a_job_that_loses_every_worker_ends(estate, monkeypatch):
    monkeypatch.setattr(runner, "MOST_ATTEMPTS", 3)
    job = estate.submit("snapshot.create", name="one")
    Job.objects.filter(pk=job.pk).update(attempts=3)
    job = estate.run(Job.objects.get(pk=job.pk))
    assert (job.state, job.error_code) == (State.FAILED, "outcome_unknown")
    assert not JobLock.objects.exists()
