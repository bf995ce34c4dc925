"""Submitting: who may, what is admitted, and that one VM has one job at a time."""

from __future__ import annotations

import pytest

from access.errors import NotAllowed, NotVisible
from access.models import Grant
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.types import PowerState
from inventory.models import VM, Host
from jobs.errors import IdempotencyMismatch, InvalidRequest, NotAdmitted, TargetBusy
from jobs.models import Job, JobLock
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make


def test_a_job_is_queued_locked_and_recorded(estate):
    job = estate.submit("snapshot.create", name="one")
    assert (job.state, job.requested_by) == (State.QUEUED, estate.user)
    assert JobLock.objects.get().resource == f"vm:{estate.vm.uuid}"
    event = AuditEvent.objects.get(action=EventAction.JOB_SUBMITTED)
    assert (event.object_id, event.segment_name) == (str(job.pk), estate.segment.name)


def test_a_second_job_on_the_same_vm_is_refused_while_the_first_holds_it(estate):
    first = estate.submit("snapshot.create")
    with pytest.raises(TargetBusy) as refusal:
        estate.submit("vm.migrate")
    assert refusal.value.holder == first
    assert Job.objects.count() == 1
    job_cancel(actor=estate.user, job=first)
    estate.submit("vm.migrate")


def test_who_sees_nothing_and_who_may_nothing(estate):
    with pytest.raises(NotVisible):
        estate.submit("snapshot.create", by=make.user())
    with pytest.raises(NotAllowed):
        estate.submit("snapshot.create", by=make.user_with("viewer", estate.segment))
    with pytest.raises(NotAllowed):
        estate.submit("vm.migrate", by=make.user_with("operator", estate.segment))
    assert not Job.objects.exists()
    assert not JobLock.objects.exists()


def test_migrating_needs_a_host_where_one_may_place(estate):
    Grant.objects.filter(user=estate.user, role__slug="placement").delete()
    with pytest.raises(NotAdmitted) as refusal:
        estate.submit("vm.migrate")
    assert refusal.value.code == "no_destination"
    with pytest.raises(NotVisible):
        estate.submit("vm.migrate", destination=estate.hosts[1].pk)
    make.grant(estate.user, "viewer", estate.cluster)
    with pytest.raises(NotAllowed):
        estate.submit("vm.migrate", destination="right")
    with pytest.raises(NotAdmitted) as refusal:  # of the hosts that are only seen, none is chosen either
        estate.submit("vm.migrate")
    assert refusal.value.code == "no_destination"


@pytest.mark.parametrize(
    ("operation", "params", "field"),
    [
        ("vm.fly", {}, "operation"),
        ("vm.start", {"now": True}, "params.now"),
        ("vm.migrate", {"bandwidth_mib": -1}, "params.bandwidth_mib"),
        ("vm.migrate", {"bandwidth_mib": True}, "params.bandwidth_mib"),
        ("vm.migrate", {"policy": "reckless"}, "params.policy"),
        ("vm.migrate", {"destination": ["right"]}, "params.destination"),
        ("snapshot.create", {"name": "../x"}, "params.name"),
        ("snapshot.create", {"name": "a\nb"}, "params.name"),
        ("snapshot.create", {"description": "x" * 501}, "params.description"),
        ("snapshot.revert", {}, "params.snapshot"),
        ("vm.shutdown", {"timeout_seconds": 2**63}, "params.timeout_seconds"),
    ],
)
def test_malformed_requests_name_the_field(estate, operation, params, field):
    with pytest.raises(InvalidRequest) as refusal:
        estate.submit(operation, **params)
    assert refusal.value.field == field
    assert not JobLock.objects.exists()


def test_what_is_observed_can_speak_against_it(estate):
    cases = [
        ("vm.start", {}, "wrong_power_state"),
        ("snapshot.revert", {"snapshot": "none"}, "snapshot_not_found"),
        ("vm.migrate", {"destination": "left"}, "already_there"),
    ]
    for operation, params, code in cases:
        with pytest.raises(NotAdmitted) as refusal:
            estate.submit(operation, **params)
        assert refusal.value.code == code
    for facts, code in (
        ({"is_split": True}, "split_brain"),
        ({"is_split": False, "power_state": PowerState.SHUT_OFF.value}, "vm_not_running"),
    ):
        VM.objects.update(**facts)
        with pytest.raises(NotAdmitted) as refusal:
            estate.submit("vm.migrate")
        assert refusal.value.code == code
    Host.objects.update(connection=Host.Connection.UNREACHABLE)
    with pytest.raises(NotAdmitted) as refusal:
        estate.submit("snapshot.create")
    assert refusal.value.code == "host_offline"


def test_an_idempotency_key_gives_the_same_job_and_refuses_another_request(estate):
    request = {"actor": estate.user, "operation": "snapshot.create", "target": estate.vm, "idempotency_key": "k1"}
    first = job_submit(**request, params={"name": "one"})
    assert job_submit(**request, params={"name": "one"}) == first
    with pytest.raises(IdempotencyMismatch):
        job_submit(**request, params={"name": "two"})
    assert Job.objects.count() == 1


def test_another_idempotency_key_is_another_request(estate):
    request = {"actor": estate.user, "operation": "snapshot.create", "target": estate.vm}
    first = job_submit(**request, params={"name": "one"}, idempotency_key="k1")
    job_cancel(actor=estate.user, job=first)
    second = job_submit(**request, params={"name": "two"}, idempotency_key="k2")
    assert second != first
    assert job_submit(**request, params={"name": "one"}, idempotency_key="k1") == first


def test_cancelling_needs_the_right_and_ends_a_waiting_job_at_once(estate):
    job = estate.submit("snapshot.create")
    with pytest.raises(NotVisible):
        job_cancel(actor=make.user(), job=job)
    with pytest.raises(NotAllowed):
        job_cancel(actor=make.user_with("viewer", estate.segment), job=job)
    job = job_cancel(actor=estate.user, job=job)
    assert (job.state, job.error_code) == (State.CANCELLED, "cancelled")
    assert not JobLock.objects.exists()
    assert estate.run(job).state == State.CANCELLED
