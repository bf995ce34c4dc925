"""Two real hosts that run one VM: seen, an alarm, no more work on it, and what lifts that."""

from __future__ import annotations

import re
import subprocess

import pytest

from access.gate import SYSTEM
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.models import VM
from jobs.attribution import changes_acknowledge
from jobs.errors import NotAdmitted
from jobs.states import State
from tests.lab.test_outside import virsh
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

_DISK = re.compile("<disk .*?</disk>", re.DOTALL)


@pytest.fixture
def doubled(site, tmp_path):
    """The tiny guest on host1, and a copy of it without a disk that somebody started on host2."""
    site.lab.reset_guest("small")
    vm = site.ready("small")
    xml = subprocess.run(
        ["virsh", "-c", str(site.hosts[0].uri), "dumpxml", "--inactive", "small"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    copy = tmp_path / "copy.xml"
    copy.write_text(_DISK.sub("", xml))
    virsh(site, "host2", "create", str(copy))
    yield vm
    subprocess.run(["virsh", "-c", str(site.hosts[1].uri), "destroy", "small"], check=False, capture_output=True)


def refusal(site, vm) -> str:
    """The code with which a job is refused; "" where it is admitted."""
    try:
        job = site.do("snapshot.create", vm, name="after")
    except NotAdmitted as error:
        return error.code
    assert job.state == State.SUCCEEDED, job.error_message
    return ""


def test_work_on_a_vm_that_two_hosts_ran_stops_until_a_person_has_taken_note(site, doubled):
    until(lambda: VM.objects.get(pk=doubled.pk).is_split, what="the split brain")
    assert sorted(site.runs_on(doubled)) == ["host1", "host2"]
    assert refusal(site, doubled) == "split_brain"

    def alarm() -> bool:
        events = AuditEvent.objects.filter(action=EventAction.VM_CHANGED_OUTSIDE, object_uuid=str(doubled.uuid))
        return any(event.detail["change"] == "split" and event.detail["alarm"] for event in events)

    until(alarm, what="the alarm")
    virsh(site, "host2", "destroy", "small")
    until(lambda: not VM.objects.get(pk=doubled.pk).is_split, what="one host's word alone")
    assert refusal(site, doubled) == "split_brain"
    changes_acknowledge(actor=SYSTEM, vm=doubled, note="a copy that somebody started")
    assert refusal(site, doubled) == ""
    site.record_is_whole()
