"""A real migration is looked at before it is made, changed while it runs, and drawn."""

from __future__ import annotations

from typing import Any

import pytest

from inventory.models import VM
from jobs.controls import control_ask
from jobs.models import Control, Curve, Job
from jobs.states import State
from tests.lab.conftest import Site
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def small(site: Site) -> VM:
    """The tiny guest, fresh, on host1."""
    site.lab.reset_guest("small")
    return site.ready("small")


def copying(job: Job) -> bool:
    return Job.objects.filter(pk=job.pk, phase="warm-up").exists() and Curve.objects.filter(job=job).exists()


def test_a_preview_asks_the_hosts_and_leaves_everything_as_it_is(site: Site, small: VM) -> None:
    job = site.do("vm.migrate_preview", small, bandwidth_mib=50)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert (job.result["would_begin"], job.result["refused"], job.result["ends"]) == (True, [], True)
    assert job.result["dirty_bps"] >= 0
    assert site.runs_on(small) == ["host1"]


@pytest.mark.parametrize(("verb", "value"), [(Control.Verb.FORCE_COMPLETION, None), (Control.Verb.SET_BANDWIDTH, 0)])
def test_a_slow_copy_is_brought_to_its_end(site: Site, small: VM, verb: Any, value: int | None) -> None:
    job = site.submit("vm.migrate", small, bandwidth_mib=1)  # it would take two minutes
    until(lambda: copying(job), what="the copying")
    control_ask(actor=site.user, job=job, verb=verb, value=value)
    job = site.ended(job, seconds=60)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.result["downtime_ms"] > 0
    assert Control.objects.get(job=job).outcome == Control.Outcome.DONE
    assert site.runs_on(small) == ["host2"]
    points = Curve.objects.get(job=job).points
    assert [point[0] for point in points] == sorted(point[0] for point in points)
    assert points[-1][1] < points[0][1]
    site.record_is_whole()
