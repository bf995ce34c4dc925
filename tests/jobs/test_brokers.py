"""Real worker and scheduler processes over each broker: a job comes to its end, also when its first nudge was lost."""

from __future__ import annotations

import shutil

import pytest

from inventory.models import Host
from jobs.models import Job, JobLock
from jobs.states import State
from portal import processes
from tests.stack import Stack, until


@pytest.fixture(autouse=True)
def _seen_by_other_processes(transactional_db):
    pass


@pytest.mark.parametrize("broker", ["redis", "filesystem"])
def test_a_job_whose_nudge_was_lost_is_carried_out(estate, tmp_path, broker):
    """The test's own process has no broker, so that its nudge goes nowhere; the sweeper's reaches the worker."""
    environment = {"SLIPWAY_BROKER_URL": "filesystem://"} if broker == "filesystem" else {}
    with Stack(tmp_path, environment) as stack:
        if broker == "redis":
            assert shutil.which("redis-server"), "this test needs Redis, which script/test installs"
            stack.start_redis()
        stack.start(processes.worker(threads=2))
        stack.start(processes.scheduler())
        job = estate.submit("snapshot.create", name="over-the-broker")
        until(lambda: Job.objects.get(pk=job.pk).is_over, what=f"the job's end over {broker}")
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, (job.error_message, stack.log("worker"))
        assert job.attempts == 1


def test_a_job_of_many_parts_is_carried_out_by_many_threads(fleet, tmp_path):
    """Parts end side by side, while their parent looks or waits: none of their ends is missed, and none is waited for
    by the clock.
    """
    for number in range(8):
        fleet.add(f"more-{number}")
    fleet.sync()
    with Stack(tmp_path, {}) as stack:
        stack.start_redis()
        stack.start(processes.worker(threads=8))
        stack.start(processes.scheduler())
        job = fleet.drain(at_once=5)
        until(lambda: Job.objects.get(pk=job.pk).is_over, seconds=120, what="the drain's end")
        job.refresh_from_db()
        assert job.state == State.SUCCEEDED, (job.error_message, job.traceback, stack.log("worker"))
        assert (job.result["moved"], fleet.running_on()["left"]) == (13, [])
        assert fleet.host.availability == Host.Availability.MAINTENANCE
        assert set(job.parts.values_list("state", "attempts")) == {(State.SUCCEEDED, 1)}
        assert not JobLock.objects.exists()
