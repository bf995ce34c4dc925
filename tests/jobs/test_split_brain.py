"""Two hosts that run one VM: the alarm, the stop of all work on it, and who may lift it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access.gate import SYSTEM
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.types import PowerState, StateReason
from inventory.models import SeenChange
from inventory.observations import guest_observed
from inventory.services.segments import segment_set_silent
from jobs.attribution import changes_acknowledge
from jobs.engine.context import JobContext
from jobs.errors import NotAdmitted
from jobs.models import JobLock
from jobs.operations.hosts.survey import survey
from jobs.operations.registry import OPERATIONS
from jobs.services import job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.test_attribution import later
from tests.jobs.test_settling import again

pytestmark = pytest.mark.django_db

RUNNING = (PowerState.RUNNING, StateReason.BOOTED)


@pytest.fixture(autouse=True)
def _no_beat(settings):
    settings.SLIPWAY_HEARTBEAT_SECONDS = 60


def split(estate, here: str = "left", there: str = "right") -> None:
    """Somebody starts a copy of the VM on the other host."""
    simulated.copy_guest(str(estate.vm.uuid), here, there, *RUNNING)
    estate.sync()
    estate.sync()
    assert estate.vm.is_split


def mend(estate) -> None:
    """And ends it again."""
    simulated.remove_guest("right", str(estate.vm.uuid))
    estate.sync()
    assert not estate.vm.is_split


def alarms(estate) -> list[str]:
    """The kinds of change for which the record has an alarm."""
    events = AuditEvent.objects.filter(action=EventAction.VM_CHANGED_OUTSIDE, object_uuid=str(estate.vm.uuid))
    return [event.detail["change"] for event in events if event.detail["alarm"]]


def test_it_is_an_alarm_also_while_a_migration_is_under_way_and_where_places_are_silenced(estate):
    segment_set_silent(actor=SYSTEM, segment=estate.segment, groups=["place"])
    assert estate.do("vm.migrate").state == State.SUCCEEDED
    simulated.copy_guest(str(estate.vm.uuid), "right", "left", *RUNNING)
    estate.sync()
    estate.sync()
    later(seconds=6)
    assert alarms(estate) == ["split"]
    assert SeenChange.objects.alarming().filter(vm=estate.vm, kind="split").exists()


@pytest.mark.parametrize("operation", sorted(name for name, kind in OPERATIONS.items() if kind.target_kind == "vm"))
def test_no_job_is_admitted_on_it(estate, operation):
    split(estate)
    with pytest.raises(NotAdmitted) as refusal:
        job_submit(actor=SYSTEM, operation=operation, target=estate.vm, params=_params(operation))
    assert refusal.value.code == "split_brain"
    mend(estate)
    with pytest.raises(NotAdmitted) as refusal:
        job_submit(actor=SYSTEM, operation=operation, target=estate.vm, params=_params(operation))
    assert refusal.value.code == "split_brain"
    assert "taken note" in refusal.value.message


def _params(operation: str) -> dict[str, str]:
    named = {"snapshot.create": "name", "snapshot.revert": "snapshot", "snapshot.delete": "snapshot"}
    return {named[operation]: "base"} if operation in named else {}


def test_a_job_that_is_under_way_touches_nothing_more_and_goes_on_when_it_is_settled(estate, monkeypatch):
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    effect = JobContext.undo_effect
    done = []

    def watched(context, call, do, **facts):
        if call == "snapshots_restore" and "split" not in done:
            done.append("split")
            split(estate, "right", "left")
        return effect(context, call, lambda: done.append(call) or do(), **facts)

    monkeypatch.setattr(JobContext, "undo_effect", watched)
    job = estate.do("vm.migrate")
    assert done == ["snapshots_forget", "migrate", "split"]
    assert (job.state, JobLock.objects.count()) == (State.LOST, 1)
    simulated.remove_guest("left", str(estate.vm.uuid))
    estate.sync()
    later(seconds=6)
    job = estate.run(again(job))
    assert job.state == State.LOST, "nobody has taken note yet"
    changes_acknowledge(actor=SYSTEM, vm=estate.vm)
    job = estate.run(again(job))
    assert job.state == State.SUCCEEDED, job.error_message
    assert [info.name for info in connect(estate.hosts[1].uri).list_snapshots(str(estate.vm.uuid))] == ["base"]


def test_who_may_approve_lifts_it_once_one_host_runs_it(estate):
    split(estate)
    later(seconds=6)
    owner = make.user_with("owner", estate.segment)
    changes_acknowledge(actor=owner, vm=estate.vm)  # the start of the copy, say, which was seen too
    with pytest.raises(NotAdmitted) as refusal:
        changes_acknowledge(actor=owner, vm=estate.vm)
    assert refusal.value.code == "split_brain"
    mend(estate)
    with pytest.raises(NotAdmitted):
        estate.submit("snapshot.create", name="too-early")
    assert changes_acknowledge(actor=owner, vm=estate.vm, note="a copy for a test") >= 1
    assert estate.do("snapshot.create", name="after").state == State.SUCCEEDED


def test_an_auditor_takes_note_of_the_rest_only(estate):
    split(estate)
    mend(estate)
    later(seconds=6)
    auditor = make.user_with("auditor")
    others = SeenChange.objects.alarming().filter(vm=estate.vm).exclude(kind="split").count()
    if others:
        assert changes_acknowledge(actor=auditor, vm=estate.vm) == others
    with pytest.raises(NotAdmitted):
        changes_acknowledge(actor=auditor, vm=estate.vm)
    with pytest.raises(NotAdmitted):
        estate.submit("snapshot.create", name="still-stopped")


def test_one_that_came_since_the_page_was_read_is_not_lifted(estate):
    split(estate)
    mend(estate)
    later(seconds=6)
    seen = SeenChange.objects.filter(vm=estate.vm).order_by("-pk")[0].pk
    split(estate)
    mend(estate)
    later(seconds=6)
    changes_acknowledge(actor=SYSTEM, vm=estate.vm, up_to=seen)
    with pytest.raises(NotAdmitted):
        estate.submit("snapshot.create", name="one")
    changes_acknowledge(actor=SYSTEM, vm=estate.vm)
    assert estate.submit("snapshot.create", name="one").state == State.QUEUED


def test_a_drain_leaves_it(fleet):
    uuid = str(fleet.estate.vm.uuid)
    simulated.copy_guest(uuid, "left", "right", *RUNNING)
    fleet.sync()
    fleet.sync()
    simulated.remove_guest("right", uuid)
    fleet.sync()
    found = survey(fleet.operator, fleet.host)
    assert [obstacle.code for _vm, obstacle in found.stuck.values()] == ["split_brain"]
    assert len(found.movable) == 4


def test_a_slow_answer_about_a_vm_that_moved_meanwhile_is_no_split_brain(estate):
    """The destination is asked, and hangs; the source is asked and runs it; it moves; the destination answers."""
    left, right = estate.hosts
    running = connect(left.uri).guest_state(str(estate.vm.uuid))
    asked = timezone.now()
    guest_observed(left, running.uuid, running, asked + timedelta(seconds=5), asked + timedelta(seconds=5))
    guest_observed(right, running.uuid, running, asked, asked + timedelta(seconds=20))
    estate.vm.refresh_from_db()
    assert (estate.vm.is_split, estate.vm.host) == (False, right)
