"""Whose doing was it: what a job explains, what nothing explains, and what is noticed although it was undone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.types import EventKind, GuestEvent
from inventory.changes import events_noted
from inventory.definitions import definition_observed, snapshots_observed
from inventory.errors import InvalidInventoryRequest
from inventory.models import VM, Alarm, SeenChange
from inventory.observations import guest_observed
from inventory.services.hosts import host_create
from inventory.services.segments import segment_set_silent
from inventory.syncing import host_sync, vm_details_read
from jobs.attribution import EXPLAINS, attribute, changes_acknowledge
from jobs.errors import NotAdmitted
from jobs.operations.registry import OPERATIONS
from jobs.states import State
from tests import factories as make


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db):
    """A worker's threads see only what was committed."""


def later(**by: float) -> int:
    """Attribute as if this much time had passed since everything was seen."""
    passed = timedelta(**by)
    for change in SeenChange.objects.filter(verdict="open"):
        SeenChange.objects.filter(pk=change.pk).update(seen_at=change.seen_at - passed)
    from jobs.models import Job

    for job in Job.objects.all():
        moved = {name: getattr(job, name) - passed for name in ("started_at", "finished_at") if getattr(job, name)}
        Job.objects.filter(pk=job.pk).update(**moved)
    return attribute()


def kinds(verdict: str = "outside") -> list[str]:
    return list(SeenChange.objects.filter(verdict=verdict).order_by("pk").values_list("kind", flat=True))


def announced(estate, *kinds_: EventKind) -> None:
    at = timezone.now()
    uuid = str(estate.vm.uuid)
    events_noted(estate.hosts[0], [GuestEvent(kind, uuid, "ledger", at, 0.0) for kind in kinds_])


def test_every_operation_says_what_it_brings_about():
    assert set(EXPLAINS) == {name for name, kind in OPERATIONS.items() if kind.target_kind == "vm"}


def test_the_first_reading_of_a_vm_changes_nothing(estate):
    assert not SeenChange.objects.exists()


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("vm.force_off", {}),
        ("vm.shutdown", {}),
        ("snapshot.create", {"name": "one"}),
        ("vm.migrate", {}),
        ("vm.patch", {"probation_seconds": 0}),
    ],
)
def test_what_a_job_did_is_its_own(estate, operation, params):
    assert estate.do(operation, **params).state == State.SUCCEEDED
    estate.sync()
    assert later(seconds=6) == 0
    assert kinds() == []
    assert not AuditEvent.objects.filter(action=EventAction.VM_CHANGED_OUTSIDE).exists()


def test_power_cut_on_the_host_itself_is_nobodys_here(estate):
    connect(estate.hosts[0].uri).force_off(str(estate.vm.uuid))
    estate.sync()
    assert attribute() == 0  # too early to tell
    assert later(seconds=6) == 1
    event = AuditEvent.objects.get(action=EventAction.VM_CHANGED_OUTSIDE)
    assert (event.before, event.after) == ({"state": "running"}, {"state": "shut_off"})
    assert event.detail["by"] == "outside the portal"
    assert event.object_uuid == str(estate.vm.uuid)
    assert attribute() == 0  # told once


def test_a_snapshot_taken_or_deleted_on_the_host_is_noticed_with_its_name(estate):
    host = connect(estate.hosts[0].uri)
    host.snapshot_create(str(estate.vm.uuid), "behind-our-back", "")
    vm_details_read(VM.objects.get(pk=estate.vm.pk), host)
    host.snapshot_delete(str(estate.vm.uuid), "behind-our-back")
    vm_details_read(VM.objects.get(pk=estate.vm.pk), host)
    later(seconds=6)
    assert {"snapshot_taken", "snapshot_gone"} <= set(kinds())
    told = AuditEvent.objects.filter(action=EventAction.VM_CHANGED_OUTSIDE)
    assert {"snapshot": "behind-our-back"} in [event.after for event in told]


def test_a_definition_changed_on_the_host_is_shown_as_a_difference(estate):
    host = connect(estate.hosts[0].uri)
    host.set_autostart(str(estate.vm.uuid), True)
    vm_details_read(VM.objects.get(pk=estate.vm.pk), host)
    later(seconds=6)
    change = SeenChange.objects.get(kind="definition")
    assert (change.verdict, change.before, change.after) == ("outside", {"autostart": False}, {"autostart": True})


def test_what_is_undone_before_anybody_reads_is_noticed_all_the_same(estate):
    announced(estate, EventKind.SUSPENDED, EventKind.RESUMED)
    estate.sync()
    assert later(seconds=6) == 2
    assert kinds() == ["suspended", "resumed"]


def test_one_change_is_told_once_when_the_host_announced_it(estate):
    connect(estate.hosts[0].uri).force_off(str(estate.vm.uuid))
    announced(estate, EventKind.STOPPED)
    estate.sync()
    assert later(seconds=6) == 1
    assert (kinds(), kinds("told")) == (["stopped"], ["power"])


def test_a_job_explains_only_what_it_does(estate):
    """Under the cover of a snapshot, somebody reboots the guest and moves its card."""
    assert estate.do("snapshot.create", name="cover").state == State.SUCCEEDED
    announced(estate, EventKind.REBOOTED)
    later(seconds=6)
    assert kinds() == ["rebooted"]


def test_a_job_explains_nothing_long_after_its_end(estate):
    assert estate.do("vm.force_off").state == State.SUCCEEDED
    later(seconds=60)
    announced(estate, EventKind.STOPPED)
    assert later(seconds=6) == 1


def test_what_was_a_jobs_own_is_forgotten_after_a_week_and_what_was_not_is_kept(estate):
    assert estate.do("vm.force_off").state == State.SUCCEEDED
    later(seconds=6)
    announced(estate, EventKind.REBOOTED)
    later(seconds=6)
    assert kinds("job")
    SeenChange.objects.update(seen_at=timezone.now() - timedelta(days=8))
    attribute()
    assert (kinds("job"), kinds("outside")) == ([], ["rebooted"])


def test_another_vms_job_explains_nothing(estate):
    other = make.vm(segment=estate.segment, host=estate.hosts[0])
    job = make.job(other, by=estate.user, operation="vm.force_off", state=State.RUNNING)
    type(job).objects.filter(pk=job.pk).update(started_at=timezone.now())
    announced(estate, EventKind.STOPPED)
    assert later(seconds=6) == 1


def test_it_is_acknowledged_by_who_may(estate):
    announced(estate, EventKind.STOPPED)
    later(seconds=6)
    with pytest.raises(NotAllowed):
        changes_acknowledge(actor=estate.user, vm=estate.vm)
    with pytest.raises(NotVisible):
        changes_acknowledge(actor=make.user_with("owner", make.segment()), vm=estate.vm)
    auditor = make.user_with("auditor")
    assert changes_acknowledge(actor=auditor, vm=estate.vm, note="the night shift") == 1
    with pytest.raises(NotAdmitted):
        changes_acknowledge(actor=auditor, vm=estate.vm)
    assert AuditEvent.objects.get(action=EventAction.VM_CHANGE_ACKNOWLEDGED).reason == "the night shift"


def test_a_job_that_was_refused_before_its_first_effect_explains_nothing(estate):
    """Somebody cuts the power on the host, and asks for a reboot to have an excuse."""
    job = estate.submit("vm.reboot")
    connect(estate.hosts[0].uri).force_off(str(estate.vm.uuid))
    announced(estate, EventKind.STOPPED)
    assert estate.run(job).state == State.FAILED
    assert later(seconds=6) == 1


def test_an_announcement_of_something_else_does_not_hide_a_reading(estate):
    connect(estate.hosts[0].uri).force_off(str(estate.vm.uuid))
    announced(estate, EventKind.REBOOTED)
    estate.sync()
    later(seconds=6)
    assert kinds() == ["rebooted", "power"]


def test_an_old_reading_that_comes_late_changes_nothing(estate):
    host = connect(estate.hosts[0].uri)
    asked_at = timezone.now()
    definition, snapshots = host.guest_definition(str(estate.vm.uuid)), host.list_snapshots(str(estate.vm.uuid))
    host.set_autostart(str(estate.vm.uuid), True)
    vm_details_read(VM.objects.get(pk=estate.vm.pk), host)
    definition_observed(estate.vm, definition, asked_at)
    snapshots_observed(estate.vm, snapshots, asked_at)
    assert VM.objects.get(pk=estate.vm.pk).autostart
    assert SeenChange.objects.filter(kind="definition").count() == 1


# Alarms


def test_a_silenced_change_is_recorded_without_an_alarm(estate):
    segment_set_silent(actor=SYSTEM, segment=estate.segment, groups=["power"])
    announced(estate, EventKind.STOPPED, EventKind.METADATA_CHANGED)
    assert later(seconds=6) == 2
    told = AuditEvent.objects.filter(action=EventAction.VM_CHANGED_OUTSIDE).order_by("pk")
    assert [(event.detail["change"], event.detail["alarm"]) for event in told] == [
        ("stopped", False),
        ("metadata", True),
    ]
    assert [change.kind for change in SeenChange.objects.alarming()] == ["metadata"]


def test_an_alarm_is_silenced_by_who_grants_on_everything_alone(estate):
    for who in (estate.user, make.user_with("owner", estate.segment), make.user_with("auditor")):
        with pytest.raises(NotAllowed):
            segment_set_silent(actor=who, segment=estate.segment, groups=["power"])
    with pytest.raises(NotVisible):
        segment_set_silent(actor=make.user(), segment=estate.segment, groups=["power"])
    with pytest.raises(InvalidInventoryRequest):
        segment_set_silent(actor=SYSTEM, segment=estate.segment, groups=["weather"])
    operator = make.user_with("platform-operator")
    segment_set_silent(actor=operator, segment=estate.segment, groups=["snapshots", "power"])
    event = AuditEvent.objects.get(action=EventAction.SEGMENT_CHANGED, actor_name=operator.username)
    assert (event.before, event.after) == ({"silent": []}, {"silent": ["power", "snapshots"]})
    segment_set_silent(actor=operator, segment=estate.segment, groups=["power", "snapshots"])
    assert AuditEvent.objects.filter(action=EventAction.SEGMENT_CHANGED, actor_name=operator.username).count() == 1


def test_every_kind_of_change_belongs_to_an_alarm():
    assert {SeenChange(kind=kind).group for kind in SeenChange.Kind} == set(Alarm)
    assert SeenChange(kind="split").group is Alarm.PLACE


def test_what_came_after_the_look_stays_open(estate):
    announced(estate, EventKind.STOPPED)
    later(seconds=6)
    seen = SeenChange.objects.get(kind="stopped").pk
    announced(estate, EventKind.STARTED)
    later(seconds=6)
    assert changes_acknowledge(actor=SYSTEM, vm=estate.vm, up_to=seen) == 1
    assert [change.kind for change in SeenChange.objects.alarming()] == ["started"]


def test_a_vm_that_appears_on_a_known_host_is_noticed(estate):
    uuid = simulated.create_guest("left", "stowaway")
    host_sync(estate.hosts[0])
    assert later(seconds=6) == 1
    change = SeenChange.objects.get(verdict="outside")
    assert (str(change.vm.uuid), change.kind, change.host_name) == (uuid, "appeared", "left")


def test_a_new_hosts_vms_are_merely_found(estate):
    simulated.create_hosts([simulated.SimulatedHost("third", networks=("default",))])
    simulated.create_guest("third", "brought-along")
    host = host_create(actor=SYSTEM, name="third", uri="sim://third/", cluster=estate.cluster)
    host_sync(host, slow=True)
    assert VM.objects.filter(name="brought-along").exists()
    assert not SeenChange.objects.exists()


def test_a_vm_that_two_hosts_run_is_an_alarm(estate):
    guest = connect(estate.hosts[0].uri).guest_state(str(estate.vm.uuid))
    for host in reversed(estate.hosts):  # both are heard after the second one's start
        guest_observed(host, guest.uuid, guest, timezone.now())
    assert VM.objects.get(pk=estate.vm.pk).is_split
    later(seconds=6)
    assert "split" in kinds()
