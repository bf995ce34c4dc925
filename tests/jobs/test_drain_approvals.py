"""Four eyes on a host: a drain that touches a segment with a rule for it waits for somebody who may speak for both."""

from __future__ import annotations

import pytest

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from access.models import User
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.simulated_driver import estate as simulated
from inventory.models import VM, Host, Segment
from jobs.approvals import approval_rules_set, covers, job_approve
from jobs.errors import InvalidRequest, NotAdmitted
from jobs.models import Approval, BrokenGlass, Job, JobLock
from jobs.services import job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Fleet
from tests.jobs.crew import work

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(fleet: Fleet) -> Segment:
    """A second segment, which has one of the VMs and no rule."""
    segment = make.segment()
    VM.objects.filter(name="web-4").update(segment=segment)
    return segment


def rule(fleet: Fleet, *operations: str) -> None:
    approval_rules_set(actor=SYSTEM, segment=fleet.estate.segment, operations=operations)


@pytest.fixture
def second() -> User:
    return make.user_with("platform-operator")


@pytest.mark.parametrize("operation", ["host.drain", "vm.migrate"])
def test_a_drain_waits_where_a_segment_has_a_rule_for_it_or_for_the_moves(
    fleet: Fleet, second: User, operation: str
) -> None:
    rule(fleet, operation)
    job = fleet.drain()
    assert job.state == State.AWAITING_APPROVAL
    assert not JobLock.objects.exists()
    assert fleet.host.availability == Host.Availability.ACTIVE
    job_approve(actor=second, job=job, reason="seen the list")
    work(job)
    assert job.state == State.SUCCEEDED, job.error_message
    # what was approved as a whole is not asked about again piece by piece
    assert {part.state for part in job.parts.all()} == {State.SUCCEEDED}
    assert fleet.running_on()["left"] == []


def test_a_rule_of_a_segment_without_a_vm_there_asks_nobody(fleet: Fleet) -> None:
    approval_rules_set(actor=SYSTEM, segment=make.segment(), operations=["host.drain"])
    rule(fleet, "vm.patch")
    assert fleet.drain().state == State.QUEUED


def test_nobody_approves_their_own_drain(fleet: Fleet) -> None:
    rule(fleet, "host.drain")
    with pytest.raises(NotAdmitted) as refused:
        job_approve(actor=fleet.operator, job=fleet.drain())
    assert refused.value.code == "own_request"


def test_who_approves_it_holds_that_on_the_host_and_on_the_segment(fleet: Fleet, other: Segment) -> None:
    rule(fleet, "host.drain")
    job = fleet.drain()
    of_hosts = make.user_with("platform-operator", fleet.estate.cluster)
    with pytest.raises(NotAllowed):
        job_approve(actor=of_hosts, job=job)
    make.grant(of_hosts, "owner", other)  # not the segment that has the rule
    with pytest.raises(NotAllowed):
        job_approve(actor=of_hosts, job=job)
    with pytest.raises(NotVisible):  # who owns the segment and sees no host
        job_approve(actor=make.user_with("owner", fleet.estate.segment), job=job)
    assert Job.objects.get(pk=job.pk).state == State.AWAITING_APPROVAL
    make.grant(of_hosts, "owner", fleet.estate.segment)
    assert job_approve(actor=of_hosts, job=job).state == State.QUEUED


def test_breaking_the_glass_needs_what_approving_needs(fleet: Fleet) -> None:
    rule(fleet, "host.drain")
    person = make.user_with("platform-operator", fleet.estate.cluster)
    make.grant(person, "maintainer", fleet.estate.segment)
    ask = {"operation": "host.drain", "target": fleet.host, "break_glass_reason": "it burns"}
    with pytest.raises(NotAllowed):
        job_submit(actor=person, **ask)
    job = work(job_submit(actor=fleet.operator, **ask))
    assert job.state == State.SUCCEEDED, job.error_message
    assert AuditEvent.objects.filter(action=EventAction.JOB_BROKE_GLASS).count() == 1
    assert fleet.running_on()["left"] == []


def test_what_is_not_on_the_approved_list_does_not_move_under_its_approval(fleet: Fleet, second: User) -> None:
    rule(fleet, "host.drain", "vm.migrate")
    job = fleet.drain()
    job_approve(actor=second, job=job)
    simulated.create_guest("left", "newcomer", memory_mib=512)
    fleet.sync()
    VM.objects.filter(name="newcomer").update(segment=fleet.estate.segment)
    work(job)
    assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    assert fleet.running_on()["left"] == ["newcomer"]
    assert job.journal["left"][str(VM.objects.get(name="newcomer").pk)][0] == "needs_approval"


def test_a_list_that_grew_after_the_approval_is_not_what_was_approved(fleet: Fleet, second: User) -> None:
    rule(fleet, "host.drain")
    job = fleet.drain()
    job_approve(actor=second, job=job)
    stranger = make.vm(segment=fleet.estate.segment, host=fleet.host)
    extent = job.journal["extent"] | {str(stranger.pk): stranger.segment_id}
    Job.objects.filter(pk=job.pk).update(journal={"extent": extent})
    work(job)
    assert (job.state, job.error_code) == (State.FAILED, "changed_after_approval")
    assert not job.parts.exists()


def test_a_part_on_something_else_is_not_covered(fleet: Fleet, second: User, other: Segment) -> None:
    """A drain that was approved speaks for its own VMs only, and one that needed no approval for none."""
    approval_rules_set(actor=SYSTEM, segment=other, operations=["vm.reboot"])
    job = fleet.drain()
    assert job.state == State.QUEUED
    elsewhere = VM.objects.get(name="web-4")
    with pytest.raises(NotAdmitted) as refused:
        job_submit(actor=fleet.operator, operation="vm.reboot", target=elsewhere, parent=job)
    assert refused.value.code == "needs_approval"


def test_an_activation_that_brings_vms_home_is_bound_too(fleet: Fleet, second: User) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    rule(fleet, "vm.migrate")
    assert fleet.activate(return_home=False).state == State.QUEUED
    Job.objects.filter(operation="host.activate").delete()
    job = fleet.activate()
    assert job.state == State.AWAITING_APPROVAL
    job_approve(actor=second, job=job)
    work(job)
    assert (job.state, job.result["returned"]) == (State.SUCCEEDED, 5)


def test_rules_are_about_operations_that_there_are(fleet: Fleet) -> None:
    with pytest.raises(InvalidRequest):
        rule(fleet, "host.explode")


def test_only_its_own_approval_covers_a_part(fleet: Fleet, second: User) -> None:
    rule(fleet, "host.drain")
    waiting, approved, broken = fleet.drain(), fleet.drain(), fleet.drain()
    vm = VM.objects.get(name="web-1")
    BrokenGlass.objects.create(job=broken, reason="it burns")
    Approval.objects.filter(job=approved).update(verdict=Approval.Verdict.APPROVED)
    assert [covers(job, vm) for job in (waiting, approved, broken)] == [False, True, True]
    Approval.objects.filter(job=waiting).delete()
    assert not covers(waiting, vm)
    assert not covers(approved, make.vm(segment=fleet.estate.segment))
    Job.objects.filter(pk=approved.pk).update(params=approved.params | {"unmovable": "shut_down"})
    assert not covers(Job.objects.get(pk=approved.pk), vm)
