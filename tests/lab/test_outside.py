"""Work on a host behind the portal's back, with virsh, on real hypervisors: noticed, told, and not blamed on jobs."""

from __future__ import annotations

import subprocess

import pytest

from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.document import lines_of
from inventory.approved import difference
from inventory.models import Definition, SeenChange
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


def test_a_definition_that_was_changed_on_the_host_is_shown_and_brought_back(site, small):
    approved = Definition.objects.get(vm=small)
    assert not approved.differs
    virsh(site, "host1", "setvcpus", "small", "2", "--config", "--maximum")
    virsh(site, "host1", "desc", "small", "--config", "--new-desc", "<b>mine</b> & theirs")
    until(lambda: Definition.objects.get(vm=small).differs, what="the reading of the new definition")
    until(lambda: "definition" in told(small), what="the record of it")
    lines = difference(Definition.objects.get(vm=small))
    assert any(line.startswith("+") and "&lt;b&gt;mine&lt;/b&gt; &amp; theirs" in line for line in lines), lines
    SeenChange.objects.filter(vm=small).delete()
    job = site.do("vm.restore_definition", small)
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["takes_effect"] == "at its next start"
    assert not Definition.objects.get(vm=small).differs
    kept = subprocess.run(
        ["virsh", "-q", "-c", str(site.hosts[0].uri), "dumpxml", "--inactive", "small"], check=True, capture_output=True
    ).stdout.decode()
    assert "mine" not in kept
    assert lines_of(kept) == lines_of(approved.approved_xml)
    until(lambda: not SeenChange.objects.filter(vm=small, verdict="open").exists(), what="its attribution")
    assert not SeenChange.objects.filter(vm=small, verdict="outside").exists()
    site.record_is_whole()


def test_a_definition_that_moved_with_its_vm_is_still_the_approved_one(site, small):
    assert site.do("vm.migrate", small).state == State.SUCCEEDED
    until(lambda: not SeenChange.objects.filter(vm=small, verdict="open").exists(), what="its attribution")
    found = Definition.objects.get(vm=small)
    assert not found.differs, difference(found)
