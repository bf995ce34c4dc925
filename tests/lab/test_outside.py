"""Work on a host behind the portal's back, with virsh, on real hypervisors: noticed, told, and not blamed on jobs."""

from __future__ import annotations

import subprocess

import pytest

from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import SeenChange
from jobs.states import State
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


def virsh(site, host: str, *argv: str) -> None:
    """What somebody with a shell on the host could do."""
    uri = next(str(row.uri) for row in site.hosts if row.name == host)
    subprocess.run(["virsh", "-q", "-c", uri, *argv], check=True, capture_output=True)


def told(vm) -> set[str]:
    """Kinds of change since the test's beginning that were found to come from outside, and are in the record."""
    kinds = set(SeenChange.objects.filter(vm=vm, verdict="outside").values_list("kind", flat=True))
    events = AuditEvent.objects.filter(action=EventAction.VM_CHANGED_OUTSIDE, object_uuid=str(vm.uuid))
    return kinds & {event.detail["change"] for event in events}


@pytest.fixture
def small(site):
    site.lab.reset_guest("small")
    vm = site.ready("small")
    until(lambda: not SeenChange.objects.filter(vm=vm, verdict="open").exists(), what="the attribution of the start")
    SeenChange.objects.filter(vm=vm).delete()  # the reset itself is work behind the portal's back
    return vm


def test_a_pause_that_was_undone_at_once_is_noticed(site, small):
    virsh(site, "host1", "suspend", "small")
    virsh(site, "host1", "resume", "small")
    until(lambda: {"suspended", "resumed"} <= told(small), what="the record of the pause")
    site.record_is_whole()


def test_a_snapshot_and_a_power_cut_are_noticed(site, small):
    virsh(site, "host1", "snapshot-create-as", "small", "behind-our-back")
    virsh(site, "host1", "destroy", "small")
    until(lambda: {"snapshot_taken", "stopped"} <= told(small), what="the record of both")
    virsh(site, "host1", "start", "small")
    virsh(site, "host1", "snapshot-delete", "small", "behind-our-back")


def test_a_migration_by_a_job_is_the_jobs_alone(site, small):
    job = site.do("vm.migrate", small)
    assert job.state == State.SUCCEEDED, job.error_message
    until(lambda: SeenChange.objects.filter(vm=small).exists(), what="what was seen of it")
    until(lambda: not SeenChange.objects.filter(vm=small, verdict="open").exists(), what="its attribution")
    assert not SeenChange.objects.filter(vm=small, verdict="outside").exists(), list(
        SeenChange.objects.filter(vm=small, verdict="outside").values("kind", "before", "after")
    )
