"""A worker killed in the middle of a job, on real hypervisors: another one finishes the story, and nobody had to
look. Migrations are in `test_crash_list.py`.
"""

from __future__ import annotations

import pytest

from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import Host
from jobs.models import Job, JobLock
from jobs.states import State
from tests.lab.test_main_job import version_in
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def small(site):
    """The tiny guest, fresh, on host1, with one snapshot."""
    site.lab.reset_guest("small")
    vm = site.ready("small")
    taken = site.do("snapshot.create", vm, name="before")
    assert taken.state == State.SUCCEEDED, taken.error_message
    return vm


def kill_worker_when(site, job, there) -> None:
    """SIGKILL the worker as soon as `there(job)` is true, which must be before the job is over; then start another."""

    def moment() -> bool:
        job.refresh_from_db()
        assert not job.is_over, f"the job was over before it could be hit: {job.state} {job.error_message}"
        return bool(there(job))

    until(moment, what="the moment to strike")
    site.stack.kill("worker")
    site.stack.start_worker()


def intent_of(call: str):
    """Whether the record says that this call was begun."""
    return lambda job: effects_of(job, call) > 0


def in_phase(phase: str):
    return lambda job: job.phase == phase


def all_is_well(site, job, vm, host: str, snapshots: set[str]) -> None:
    """What must hold after any crash."""
    assert Job.objects.get(pk=job.pk).attempts == 2
    assert site.runs_on(vm) == [host]
    assert site.snapshots(vm, host) == snapshots
    assert not JobLock.objects.exclude(resource__startswith="paths:").exists()
    assert AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.JOB_LOST).count() <= 1
    site.record_is_whole()


def effects_of(job, call: str) -> int:
    """How often this effect was begun."""
    intents = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_INTENT)
    return sum(event.detail["call"] == call for event in intents)


def test_a_snapshot_survives_its_worker(site, small):
    job = site.submit("snapshot.create", small, name="during")
    kill_worker_when(site, job, intent_of("snapshot_create"))
    job = site.ended(job)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    all_is_well(site, job, small, "host1", {"before", "during"})


def test_a_revert_survives_its_worker(site, small):
    job = site.submit("snapshot.revert", small, snapshot="before")
    kill_worker_when(site, job, intent_of("snapshot_revert"))
    job = site.ended(job)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    all_is_well(site, job, small, "host1", {"before", job.result["safety"]})


def test_a_patch_survives_its_worker(site, debian):
    site.lab.offer("1.1")
    site.lab.reset_guest(debian)
    ledger = site.ready(debian)
    job = site.submit("vm.patch", ledger)
    kill_worker_when(site, job, in_phase("applying"))
    job = site.ended(job)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert version_in(site, ledger) == "1.1"
    assert times_upgraded(site, ledger) == 1
    all_is_well(site, job, ledger, "host1", {job.result["snapshot"]})


def times_upgraded(site, vm) -> int:
    """How often dpkg's own log in the guest tells of the upgrade."""
    return int(site.in_guest(vm, "grep", "-c", " upgrade slipway-hello:", "/var/log/dpkg.log"))


def test_a_stopped_daemon_delays_nobody_else(site, small):
    """SIGSTOP to host2's libvirtd: its badge shows it, and work on host1 goes on meanwhile."""
    site.lab.stop_daemon("host2")
    try:
        until(lambda: Host.objects.get(name="host2").connection == "unreachable", seconds=120, what="the badge")
        job = site.do("snapshot.create", small, name="meanwhile")
        assert job.state == State.SUCCEEDED, job.error_message
        assert (job.finished_at - job.created_at).total_seconds() < 30
        assert Host.objects.get(name="host1").connection == "online"
    finally:
        site.lab.continue_daemon("host2")
    until(lambda: Host.objects.get(name="host2").connection == "online", seconds=120, what="the badge's end")
