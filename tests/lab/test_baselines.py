"""Baselines that are taken by themselves, on a real hypervisor: when the VM is adopted, and when it is off at last."""

from __future__ import annotations

import pytest
from django.utils import timezone

from access.gate import SYSTEM
from inventory.models import VM, Snapshot
from inventory.services.baselines import segment_set_baseline
from jobs.baselines import outlook
from jobs.models import Job
from jobs.states import State
from tests.lab.conftest import Site
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def small(site: Site) -> VM:
    site.lab.reset_guest("small")
    return site.ready("small")


def baseline(vm: VM) -> Snapshot | None:
    """The VM's, once its job is over as well."""
    if Job.objects.unfinished().filter(vm=vm).exists():
        return None
    return Snapshot.objects.filter(vm=vm, is_baseline=True).first()


def test_a_vm_that_is_adopted_gets_one_and_its_pause_is_measured(site: Site, small: VM) -> None:
    segment_set_baseline(actor=SYSTEM, segment=site.segment, policy="adopted", longest_pause=30)
    row = until(lambda: baseline(small), seconds=120, what="its baseline")
    job = Job.objects.get(vm=small)
    assert (job.state, job.operation, job.requested_by) == (State.SUCCEEDED, "snapshot.create", None)
    assert site.snapshots(small, "host1") == {row.name}
    assert site.runs_on(small) == ["host1"]
    assert row.has_memory
    assert row.pause_ms is not None
    assert 0 < row.pause_ms / 1000 <= job.result["seconds"] + 0.05, "by its events, it stood still within the call"
    again = site.do("snapshot.create", small, name="second")
    assert again.state == State.SUCCEEDED, again.error_message
    assert again.result["foretold_pause_seconds"] == pytest.approx(row.pause_ms / 1000, abs=0.001)
    site.record_is_whole()


def test_one_that_would_stand_still_for_too_long_gets_it_when_it_is_off(site: Site, small: VM) -> None:
    segment_set_baseline(actor=SYSTEM, segment=site.segment, policy="adopted", longest_pause=0)
    found = outlook(VM.objects.get(pk=small.pk), timezone.now())
    assert found is not None
    assert "its segment allows 0 s. It is taken once the VM is off." in found.why
    off = site.do("vm.force_off", small)
    assert off.state == State.SUCCEEDED, off.error_message
    row = until(lambda: baseline(small), seconds=120, what="its baseline")
    assert (row.has_memory, row.pause_ms, row.state) == (False, None, "shut_off")
    assert site.snapshots(small, "host1") == {row.name}
    assert not Job.objects.filter(vm=small, operation="snapshot.create").exclude(state=State.SUCCEEDED).exists()
    site.record_is_whole()
