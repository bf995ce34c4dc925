"""A real host is emptied and its guests come home, live; and its worker is killed in the middle of it."""

from __future__ import annotations

from typing import Any

import pytest

from hypervisor.types import PowerState, StateReason
from inventory.models import VM, Host
from jobs.models import Job, JobLock
from jobs.operations.hosts.pace import MOST_OUT_OF_A_HOST
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make
from tests.lab.conftest import Site
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

GUESTS = ("small", "acct-a", "acct-b")


@pytest.fixture
def crew(site: Site) -> list[VM]:
    """Three tiny guests, all running on host1; one has a snapshot."""
    there = {guest["name"] for guest in site.lab.status()["guests"]}
    for name in GUESTS:
        if name not in there:
            site.lab.add_guest(name, "tiny", 1)
    for name in GUESTS:
        site.lab.reset_guest(name)
    VM.objects.update(segment=site.segment)
    found = [site.ready(name) for name in GUESTS]
    site.user = make.user_with("platform-operator")
    taken = site.do("snapshot.create", found[0], name="before")
    assert taken.state == State.SUCCEEDED, taken.error_message
    return found


def work_on(site: Site, operation: str, **params: Any) -> Job:
    return job_submit(actor=site.user, operation=operation, target=Host.objects.get(name="host1"), params=params)


def running_at(site: Site, crew: list[VM], host: str) -> bool:
    """Whether every guest runs on that host and only there, asked of libvirt itself."""
    return all(site.runs_on(vm) == [host] for vm in crew)


def drained(site: Site, job: Job, crew: list[VM]) -> None:
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.result["moved"] >= len(crew)
    assert running_at(site, crew, "host2")
    assert site.snapshots(crew[0], "host2") == {"before"}
    assert Host.objects.get(name="host1").availability == Host.Availability.MAINTENANCE
    assert not JobLock.objects.exclude(resource__startswith="paths:").exists()


def test_a_host_is_emptied_and_its_guests_come_home(site: Site, crew: list[VM]) -> None:
    job = work_on(site, "host.drain", bandwidth_mib=16)
    most, most_arriving = 0, 0
    destination = site.on(next(host for host in site.hosts if host.name == "host2"))

    def over() -> bool:
        """Looks meanwhile how many are sent by the jobs, and how many the destination itself says are arriving."""
        nonlocal most, most_arriving
        most = max(most, Job.objects.working().filter(operation="vm.migrate").count())
        arriving = [guest for guest in destination.list_guests() if guest.reason is StateReason.MIGRATION]
        most_arriving = max(most_arriving, sum(guest.state is PowerState.PAUSED for guest in arriving))
        return Job.objects.get(pk=job.pk).is_over

    until(over, seconds=300, what="the end of the drain")
    destination.close()
    job.refresh_from_db()
    drained(site, job, crew)
    assert (most, most_arriving) == (MOST_OUT_OF_A_HOST, MOST_OUT_OF_A_HOST)
    for part in job.parts.filter(operation="vm.migrate"):
        assert part.result["downtime_ms"] > 0
    home = site.ended(work_on(site, "host.activate"))
    assert home.state == State.SUCCEEDED, (home.error_message, home.traceback)
    assert home.result["returned"] == job.result["moved"]
    assert running_at(site, crew, "host1")
    assert site.snapshots(crew[0], "host1") == {"before"}
    site.record_is_whole()


def test_a_drain_survives_its_worker(site: Site, crew: list[VM]) -> None:
    """Killed while two guests are being copied: parent and parts are taken up again by another worker."""
    job = work_on(site, "host.drain", bandwidth_mib=8)
    until(lambda: job.parts.filter(phase="warm-up").exists(), what="a guest on its way")
    site.stack.kill("worker")
    site.stack.start_worker()
    drained(site, site.ended(job), crew)
    site.record_is_whole()


def test_a_cancelled_drain_leaves_every_guest_running(site: Site, crew: list[VM]) -> None:
    job = work_on(site, "host.drain", bandwidth_mib=4, at_once=1)
    until(lambda: job.parts.filter(phase="warm-up").exists(), what="a guest on its way")
    job_cancel(actor=site.user, job=Job.objects.get(pk=job.pk))
    job = site.ended(job)
    assert (job.state, job.error_code) == (State.CANCELLED, "cancelled"), job.error_message
    assert all(len(site.runs_on(vm)) == 1 for vm in crew)
    assert Host.objects.get(name="host1").availability == Host.Availability.ACTIVE
    assert not Job.objects.unfinished().exclude(operation="host.prove_paths").exists()
    assert not JobLock.objects.exclude(resource__startswith="paths:").exists()
    site.record_is_whole()
