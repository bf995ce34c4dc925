"""A real host with three guests that burn its CPU, beside an empty one: advice, then the moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db.models import Sum

from inventory.models import VM, Cluster, Load
from inventory.syncing import loads_read
from jobs.models import Job, JobLock
from jobs.services import job_submit
from jobs.states import State
from tests import factories as make
from tests.lab.conftest import Site
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

BURNERS = ("burner-a", "burner-b", "burner-c")
#: What they are seen to use together before anything is asked, in cores: a little more than strains a host of two CPUs
#: beside one that does nothing (0.6). Each takes what it gets; on a machine that is busy otherwise that is a share.
BURN = 0.72


@pytest.fixture
def crowd(site: Site) -> Iterator[list[VM]]:
    """Three guests on host1 that write their memory without end, little of it, so that they can be moved.

    The rate is one that no machine keeps up with: a guest that does would sleep in between.
    """
    site.lab.reset_guest("small")  # idle, and on the first host too
    for name in BURNERS:
        site.lab.add_guest(name, "writer", 1, rate=10_000_000, size=2)
    site.user = make.user_with("platform-operator")
    yield [site.ready(name) for name in BURNERS]
    for name in BURNERS:
        site.lab.remove_guest(name)


def rebalance(site: Site, mode: str) -> Job:
    params = {"mode": mode, "policy": "pause-ok"}
    return job_submit(actor=site.user, operation="cluster.rebalance", target=Cluster.objects.get(), params=params)


def burns(site: Site) -> bool:
    """Look once more; whether they were seen to burn."""
    connection = site.on(site.hosts[0])
    try:
        loads_read(site.hosts[0], connection)
    finally:
        connection.close()
    used = Load.objects.filter(vm__name__in=BURNERS).aggregate(total=Sum("cpu_cores"))["total"]
    return used is not None and used >= BURN


def test_a_crowded_host_gives_guests_to_an_empty_one(site: Site, crowd: list[VM]) -> None:
    until(lambda: burns(site), seconds=240, what="three guests that burn")
    advice = site.ended(rebalance(site, "advise"))
    assert advice.state == State.SUCCEEDED, (advice.error_message, advice.traceback)
    # Two on one host, one on the other: which way round is more even depends on what each was seen to use, and the idle
    # guest beside them may be what evens it out.
    assert advice.result["planned"] in (1, 2, 3), advice.result
    assert all(site.runs_on(vm) == ["host1"] for vm in crowd)
    job = site.ended(rebalance(site, "run"))
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback, job.journal.get("left"))
    # A later move may be left out where an earlier one has taken its ground: that is said, and no failure.
    assert job.result["moved"] + job.result["left"] == job.result["planned"], job.result
    assert job.result["moved"] == job.parts.count()
    assert all(site.runs_on(part.vm) == [part.params["destination_name"]] for part in job.parts.all())
    at = [site.runs_on(vm) for vm in crowd]
    assert sorted(at) in ([["host1"], ["host1"], ["host2"]], [["host1"], ["host2"], ["host2"]]), job.journal
    assert all(part.result["downtime_ms"] > 0 for part in job.parts.all())
    # By memory: the use of the CPU is a mean over minutes, and still rises.
    assert job.result["reached"]["over_mean"]["memory"] < job.result["before"]["over_mean"]["memory"]
    assert not JobLock.objects.exclude(resource__startswith="paths:").exists()
    site.record_is_whole()
