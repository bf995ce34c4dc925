"""Four eyes: what waits, who may decide, what ends it, and going ahead without."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from access.models import Effect, Grant
from access.services.grants import grant_revoke
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.services.segments import vm_assign_segment
from jobs import sweeper
from jobs.approvals import approval_rules_set, broken_glass_acknowledge, job_approve, job_reject
from jobs.errors import IdempotencyMismatch, InvalidRequest, InvalidTransition, NotAdmitted, TargetBusy
from jobs.models import Approval, BrokenGlass, Job, JobLock
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(estate):
    return make.user_with("owner", estate.segment)


@pytest.fixture
def ruled(estate):
    """The estate, where taking snapshots needs a second person."""
    approval_rules_set(actor=make.user_with("administrator"), segment=estate.segment, operations=["snapshot.create"])
    return estate


def events(job) -> list[str]:
    return list(AuditEvent.objects.filter(object_id=str(job.pk)).order_by("pk").values_list("action", flat=True))


def test_it_waits_without_a_lock_and_runs_once_approved(ruled, owner):
    job = ruled.submit("snapshot.create", name="one")
    assert job.state == State.AWAITING_APPROVAL
    assert not JobLock.objects.exists()
    assert ruled.run(job).state == State.AWAITING_APPROVAL  # a worker that is told of it leaves it alone
    job_approve(actor=owner, job=job, reason="seen")
    job = ruled.run(Job.objects.get(pk=job.pk))
    assert job.state == State.SUCCEEDED, job.error_message
    assert (job.approval.verdict, job.approval.decided_by) == ("approved", owner)
    assert events(job)[:3] == [EventAction.JOB_SUBMITTED, EventAction.JOB_APPROVED, EventAction.JOB_STARTED]


def test_other_operations_and_other_segments_need_none(ruled):
    assert ruled.submit("vm.reboot").state == State.QUEUED
    other = make.vm(segment=make.segment(), host=make.host())
    user = make.user_with("operator", other)
    job = job_submit(actor=user, operation="snapshot.create", target=other, params={"name": "x"})
    assert job.state == State.QUEUED


def test_nobody_approves_their_own_request(ruled, owner):
    job = ruled.submit("snapshot.create", by=owner, name="one")
    with pytest.raises(NotAdmitted) as refused:
        job_approve(actor=owner, job=job)
    assert refused.value.code == "own_request"
    assert Job.objects.get(pk=job.pk).state == State.AWAITING_APPROVAL


def test_slipway_itself_approves_nothing(ruled):
    job = ruled.submit("snapshot.create", name="one")
    with pytest.raises(NotAdmitted) as refused:
        job_approve(actor=SYSTEM, job=job)
    assert refused.value.code == "own_request"


def test_a_cancelled_job_withdraws_its_own_request_alone(ruled, owner):
    first = ruled.submit("snapshot.create", name="one")
    second, third = ruled.submit("snapshot.create", name="two"), ruled.submit("snapshot.create", name="three")
    job_approve(actor=owner, job=first)
    job_cancel(actor=ruled.user, job=Job.objects.get(pk=first.pk))
    job_cancel(actor=ruled.user, job=second)
    verdicts = [Job.objects.get(pk=job.pk).approval.verdict for job in (first, second, third)]
    assert verdicts == ["approved", "withdrawn", "waiting"]


def test_a_decision_is_about_its_own_request(ruled, owner):
    first, second = ruled.submit("snapshot.create", name="one"), ruled.submit("snapshot.create", name="two")
    job_approve(actor=owner, job=second)
    assert [Job.objects.get(pk=job.pk).approval.verdict for job in (first, second)] == ["waiting", "approved"]


@pytest.mark.parametrize("own", [True, False])
def test_nobody_takes_note_of_the_glass_they_broke_themselves(ruled, own):
    administrator = make.user_with("administrator")
    job = job_submit(
        actor=administrator, operation="snapshot.create", target=ruled.vm, params={"name": "one"},
        break_glass_reason="a fire",
    )  # fmt: skip
    with pytest.raises(NotAdmitted) as refused:
        broken_glass_acknowledge(actor=administrator if own else SYSTEM, broken=job.broken_glass)
    assert refused.value.code == "own_request"
    assert BrokenGlass.objects.get().acknowledged_at is None


def test_what_waits_elsewhere_holds_up_no_other_work(ruled):
    ruled.submit("snapshot.create", name="one")
    job = ruled.do("vm.reboot")
    assert job.state == State.SUCCEEDED, job.error_message


def test_the_rules_of_a_segment_that_one_is_denied_are_not_ones_to_set(ruled):
    administrator = make.user_with("administrator")
    make.grant(administrator, "viewer", ruled.segment, effect=Effect.DENY)
    with pytest.raises(NotVisible):
        approval_rules_set(actor=administrator, segment=ruled.segment, operations=[])


def test_only_who_holds_approve_there_decides(ruled):
    job = ruled.submit("snapshot.create", name="one")
    with pytest.raises(NotAllowed):
        job_approve(actor=make.user_with("maintainer", ruled.segment), job=job)
    with pytest.raises(NotVisible):
        job_reject(actor=make.user_with("owner", make.segment()), job=job, reason="no")
    assert Job.objects.get(pk=job.pk).state == State.AWAITING_APPROVAL


def test_a_rejection_ends_it_with_the_reason(ruled, owner):
    job = ruled.submit("snapshot.create", name="one")
    with pytest.raises(InvalidRequest):
        job_reject(actor=owner, job=job, reason=" ")
    job = job_reject(actor=owner, job=job, reason="not during the closing")
    assert (job.state, job.error_code) == (State.CANCELLED, "rejected")
    assert "not during the closing" in job.error_message
    for decide in (job_approve, job_reject):
        with pytest.raises(InvalidTransition, match="does not wait for an approval"):
            decide(actor=owner, job=job, reason="again")


def test_a_requester_who_lost_the_right_gets_it_cancelled(ruled, owner):
    job = ruled.submit("snapshot.create", name="one")
    for grant in Grant.objects.filter(user=ruled.user, segment=ruled.segment):
        grant_revoke(actor=make.user_with("administrator"), grant=grant)
    job = job_approve(actor=owner, job=job)
    assert (job.state, job.error_code) == (State.CANCELLED, "right_withdrawn")


def test_what_no_longer_makes_sense_is_not_approved(ruled, owner):
    job = ruled.submit("snapshot.create", name="one")
    make.snapshot(ruled.vm, "one")
    with pytest.raises(NotAdmitted) as refused:
        job_approve(actor=owner, job=job)
    assert refused.value.code == "snapshot_exists"
    assert Job.objects.get(pk=job.pk).state == State.AWAITING_APPROVAL


def test_a_busy_vm_lets_the_request_wait_on(ruled, owner):
    job = ruled.submit("snapshot.create", name="one")
    ruled.submit("vm.reboot")
    with pytest.raises(TargetBusy):
        job_approve(actor=owner, job=job)
    assert job.approval.verdict == Approval.Verdict.WAITING
    assert Job.objects.get(pk=job.pk).state == State.AWAITING_APPROVAL


def test_a_request_expires(ruled, owner):
    job = ruled.submit("snapshot.create", name="one")
    assert sweeper.sweep()["expired"] == 0
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(InvalidTransition):
        job_approve(actor=owner, job=job)
    assert sweeper.sweep()["expired"] == 1
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.CANCELLED, "not_approved")
    assert sweeper.sweep()["expired"] == 0


def test_a_request_that_was_cancelled_is_left_alone_by_the_sweeper(ruled):
    job = ruled.submit("snapshot.create", name="one")
    job_cancel(actor=ruled.user, job=job)
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep()["expired"] == 0


def test_a_job_that_was_changed_after_its_approval_does_not_begin(ruled, owner):
    """Somebody with a hand in the database changes what was approved."""
    job = ruled.submit("snapshot.create", name="one")
    job_approve(actor=owner, job=job)
    Job.objects.filter(pk=job.pk).update(params=job.params | {"name": "another"})
    job = ruled.run(Job.objects.get(pk=job.pk))
    assert (job.state, job.error_code) == (State.FAILED, "changed_after_approval")


def test_a_job_that_was_slipped_past_its_approval_does_not_begin(ruled):
    job = ruled.submit("snapshot.create", name="one")
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED)
    job = ruled.run(Job.objects.get(pk=job.pk))
    assert (job.state, job.error_code) == (State.FAILED, "changed_after_approval")


def test_an_owner_may_break_the_glass_and_it_is_listed_until_acknowledged(ruled, owner):
    auditor = make.user_with("auditor")
    job = job_submit(
        actor=owner, operation="snapshot.create", target=ruled.vm, params={"name": "now"}, break_glass_reason="fire"
    )
    assert job.state == State.QUEUED
    assert events(job) == [EventAction.JOB_SUBMITTED, EventAction.JOB_BROKE_GLASS]
    broken = BrokenGlass.objects.visible_to(auditor).get()
    assert (broken.reason, broken.acknowledged_at) == ("fire", None)
    with pytest.raises(NotAllowed):
        broken_glass_acknowledge(actor=owner, broken=broken)
    broken = broken_glass_acknowledge(actor=auditor, broken=broken, note="seen")
    assert broken.acknowledged_by == auditor
    with pytest.raises(InvalidTransition):
        broken_glass_acknowledge(actor=auditor, broken=broken)


def test_who_may_not_approve_does_not_break_the_glass(ruled):
    with pytest.raises(NotAllowed):
        job_submit(
            actor=ruled.user, operation="snapshot.create", target=ruled.vm, params={"name": "x"}, break_glass_reason="!"
        )
    assert not Job.objects.exists()
    assert not JobLock.objects.exists()


def test_a_reason_where_no_approval_is_needed_breaks_nothing(estate):
    job = job_submit(
        actor=estate.user, operation="snapshot.create", target=estate.vm, params={"name": "x"}, break_glass_reason="!"
    )
    assert job.state == State.QUEUED
    assert not BrokenGlass.objects.exists()


def test_the_rules_are_not_for_those_who_are_bound_by_them(estate, owner):
    with pytest.raises(NotAllowed):
        approval_rules_set(actor=owner, segment=estate.segment, operations=[])
    admin = make.user_with("administrator")
    with pytest.raises(InvalidRequest):
        approval_rules_set(actor=admin, segment=estate.segment, operations=["fly"])
    assert approval_rules_set(actor=admin, segment=estate.segment, operations=["vm.patch", "vm.force_off"]) == [
        "vm.force_off",
        "vm.patch",
    ]
    before = AuditEvent.objects.count()
    approval_rules_set(actor=admin, segment=estate.segment, operations=["vm.force_off", "vm.patch"])
    assert AuditEvent.objects.count() == before  # nothing changed, nothing to tell


def test_a_vm_is_not_carried_out_of_reach_of_the_rules(ruled):
    """An owner of two segments would else move it, act, and move it back."""
    free = make.segment()
    owner = make.user_with("owner", ruled.segment)
    make.grant(owner, "owner", free)
    with pytest.raises(NotAllowed):
        vm_assign_segment(actor=owner, vm=ruled.vm, segment=free)
    with pytest.raises(NotAllowed):
        vm_assign_segment(actor=owner, vm=ruled.vm, segment=None)
    vm_assign_segment(actor=make.user_with("administrator"), vm=ruled.vm, segment=free)


def test_a_cancelled_request_is_withdrawn(ruled):
    job = ruled.submit("snapshot.create", name="one")
    job_cancel(actor=ruled.user, job=job)
    assert Approval.objects.get(job=job).verdict == Approval.Verdict.WITHDRAWN


def test_breaking_the_glass_is_another_request(ruled, owner):
    ask = {"actor": owner, "operation": "snapshot.create", "target": ruled.vm, "params": {"name": "x"}}
    job_submit(**ask, idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        job_submit(**ask, idempotency_key="k", break_glass_reason="fire")


def test_what_is_not_admitted_any_more_is_told_to_who_approves(ruled, owner):
    """About a VM the approver may know everything."""
    job = ruled.submit("snapshot.create", name="one")
    make.snapshot(ruled.vm, "one")
    with pytest.raises(NotAdmitted, match="has a snapshot “one” already"):
        job_approve(actor=owner, job=job)
    assert Job.objects.get(pk=job.pk).state == State.AWAITING_APPROVAL
