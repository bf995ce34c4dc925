"""Four eyes: work that needs a second person waits for one, ends without one, or is done without one and is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from access import gate
from access.actions import Action
from access.errors import NotAllowed, Refused
from access.gate import SYSTEM, Actor, System
from audit.events import EventAction
from audit.record import record
from inventory.models import VM, ApprovalRule, Segment
from jobs.errors import InvalidRequest, InvalidTransition, NotAdmitted, OperationFailed
from jobs.locking import lock
from jobs.models import Approval, BrokenGlass, Job
from jobs.operations.base import Operation
from jobs.operations.registry import OPERATIONS, operation_named
from jobs.queue import nudge_on_commit
from jobs.states import State
from jobs.transitions import advance

#: How long a request waits for somebody to decide.
WAITS_FOR = timedelta(hours=24)
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done: an operation on a target, and for work on a host the ids of the VMs that it is about."""

    operation: Operation
    target: Any
    params: Mapping[str, Any]
    extent: Collection[int] = ()

    @classmethod
    def of(cls, job: Job) -> Work:
        """A job's work, as it was asked for."""
        return cls(operation_named(job.operation), job.target, job.params, job.extent)


def needs_approval(actor: Actor, work: Work, parent: Job | None = None) -> bool:
    """Whether the work asks for it itself, or a segment that it touches has a rule for it: the target's own, or that of
    a VM which work on a host is about. As part of a `parent` it is bound by the rules for that as well. Slipway's own
    work is approved by its schedule.
    """
    if isinstance(actor, System):
        return False
    if work.operation.asks_second_person(work.params):
        return True
    return ruling_segments(work, also=(parent.operation,) if parent else ()).exists()


def ruling_segments(work: Work, also: tuple[str, ...] = ()) -> QuerySet[Segment]:
    """The segments whose rules ask for approval of this work."""
    is_on_vm = work.operation.target_kind == "vm"
    touched = Q(pk=work.target.segment_id) if is_on_vm else Q(vms__in=work.extent)
    rules = Q(approval_rules__operation__in=(*work.operation.bound_by(work.params), *also))
    return Segment.objects.filter(touched, rules).distinct()


def covers(parent: Job, vm: VM) -> bool:
    """Whether a job's approval (or its going ahead without) speaks for its part on this VM: one that it was asked
    about, in the segment that it was in then, and nothing of the request was changed since.
    """
    extent = parent.journal.get("extent", {})
    if str(vm.pk) not in extent or extent[str(vm.pk)] != vm.segment_id:
        return False
    if BrokenGlass.objects.filter(job=parent).exists():
        return True
    approval = Approval.objects.filter(job=parent, verdict=Approval.Verdict.APPROVED).first()
    return approval is not None and approval.digest == digest_of_job(parent)


def digest_of(operation: str, target: Any, params: Mapping[str, Any] | None, extent: Mapping[str, Any] = _NONE) -> str:
    """Identifies what is to be done: the same digest, the same work."""
    body = [operation, target._meta.label if target is not None else "", str(getattr(target, "pk", "")), params or {}]
    body += [dict(extent)] if extent else []
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_job(job: Job) -> str:
    """What its approver agrees to."""
    return digest_of(job.operation, job.target, job.params, job.journal.get("extent", {}))


def ask_for_approval(job: Job) -> Approval:
    """Let a new job wait for a decision."""
    return Approval.objects.create(job=job, digest=digest_of_job(job), expires_at=timezone.now() + WAITS_FOR)


def break_glass(actor: Actor, job: Job, reason: str) -> BrokenGlass:
    """Note that a job goes ahead without the approval it needs, by somebody who could approve it for others."""
    authorise_decision(actor, job)
    broken = BrokenGlass.objects.create(job=job, reason=reason)
    record(EventAction.JOB_BROKE_GLASS, target=job, actor=actor, reason=reason)
    return broken


def may_decide(actor: Actor, work: Work) -> bool:
    """Whether the actor may decide on such work: APPROVE on its target, and for work on a host also on each segment
    whose rules ask for the approval.
    """
    if not gate.can(actor, Action.APPROVE, work.target):
        return False
    if work.operation.target_kind == "vm":
        return True
    return all(gate.can(actor, Action.APPROVE, segment) for segment in ruling_segments(work))


def authorise_decision(actor: Actor, job: Job) -> None:
    """Return if the actor may decide on a job. Raises NotVisible, NotAllowed."""
    gate.authorise(actor, Action.APPROVE, job.target)
    if not may_decide(actor, Work.of(job)):
        raise NotAllowed(user=actor, action=Action.APPROVE, target=job.target)


@transaction.atomic
def job_approve(*, actor: Actor, job: Job, reason: str = "") -> Job:
    """Let a waiting job go ahead. Needs what `authorise_decision` asks for, and is for somebody else than who asked.

    What was admitted then is asked again now; a requester who has lost the right meanwhile gets the job cancelled.
    Raises NotVisible, NotAllowed, InvalidTransition, NotAdmitted, TargetBusy.
    """
    job, approval = _waiting(actor, job)
    if isinstance(actor, System) or job.requested_by_id == actor.pk:
        raise NotAdmitted("own_request", "Whoever asks does not approve: somebody else has to look at it.")
    requester: Actor = job.requested_by or SYSTEM
    operation = operation_named(job.operation)
    try:
        gate.authorise(requester, operation.action, job.target)
        _admit_again(requester, operation, job)
    except Refused as error:
        why = f"{job.requester_name} no longer holds the right “{error.action.label}” that this job needs."
        _decide(approval, actor, Approval.Verdict.REJECTED, why)
        return advance(job, State.CANCELLED, reason=why, error_code="right_withdrawn", error_message=why)
    lock(job, operation.lock_targets(job.target))
    _decide(approval, actor, Approval.Verdict.APPROVED, reason)
    advance(job, State.QUEUED, reason=reason, event=EventAction.JOB_APPROVED, nudged_at=timezone.now())
    nudge_on_commit(job)
    return job


def _admit_again(requester: Actor, operation: Operation, job: Job) -> None:
    """Ask whether what was admitted would be so now. Raises NotAdmitted, in words that are the approver's to know: the
    reasons against work on a host name VMs that the requester sees.
    """
    try:
        operation.admit(requester, job.target, dict(job.params))
    except NotAdmitted as error:
        if job.vm is not None:
            raise
        why = f"It would not be admitted any more. {job.requester_name} sees why when asking again."
        raise NotAdmitted(error.code, why) from error


@transaction.atomic
def job_reject(*, actor: Actor, job: Job, reason: str) -> Job:
    """Turn a waiting job down, with a reason. Needs what approving needs. Raises as `job_approve`, InvalidRequest."""
    if not reason.strip():
        raise InvalidRequest("Say why it is turned down.", field="reason")
    job, approval = _waiting(actor, job)
    _decide(approval, actor, Approval.Verdict.REJECTED, reason)
    who = actor.username
    return advance(
        job,
        State.CANCELLED,
        reason=reason,
        event=EventAction.JOB_REJECTED,
        error_code="rejected",
        error_message=f"Turned down by {who}: {reason}",
    )


def withdrawn(job: Job) -> None:
    """A job that is cancelled asks for no approval any more."""
    Approval.objects.filter(job=job, verdict=Approval.Verdict.WAITING).update(
        verdict=Approval.Verdict.WITHDRAWN, decided_at=timezone.now()
    )


def refuse_other_than_approved(job: Job) -> None:
    """Before a job begins: what was approved is what will be done, whoever has had a hand in its row since.

    Raises OperationFailed for a job that differs from what its approver saw, or whose request was not approved.
    """
    approval = getattr(job, "approval", None)
    if approval is None:
        return
    approved = approval.verdict == Approval.Verdict.APPROVED
    if not approved or approval.digest != digest_of_job(job):
        raise OperationFailed(
            "changed_after_approval", "The job is not what was approved. It has to be asked for again."
        )


def expire_unapproved() -> int:
    """End the jobs on which nobody decided in time. Returns how many."""
    late = Approval.objects.filter(job__state=State.AWAITING_APPROVAL, expires_at__lte=timezone.now())
    count = 0
    for approval in late:
        with transaction.atomic():
            job = Job.objects.select_for_update(of=("self",)).get(pk=approval.job_id)
            if job.state != State.AWAITING_APPROVAL:
                continue
            why = "Nobody approved it in time."
            _decide(approval, SYSTEM, Approval.Verdict.EXPIRED, "")
            advance(job, State.CANCELLED, reason=why, error_code="not_approved", error_message=why)
            count += 1
    return count


@transaction.atomic
def approval_rules_set(*, actor: Actor, segment: Segment, operations: Collection[str]) -> list[str]:
    """Say which operations need approval in a segment. Returns them, sorted.

    Needs GRANT on everything: who is bound by a rule, the segment's owner included, does not lift it. Raises
    NotVisible, NotAllowed, InvalidRequest.
    """
    gate.authorise(actor, Action.VIEW, segment)
    gate.authorise(actor, Action.GRANT)
    unknown = sorted(set(operations) - set(OPERATIONS))
    if unknown:
        raise InvalidRequest(f"{', '.join(unknown)} is no operation.", field="operations")
    before = sorted(segment.approval_rules.values_list("operation", flat=True))
    after = sorted(set(operations))
    if before != after:
        segment.approval_rules.all().delete()
        ApprovalRule.objects.bulk_create(ApprovalRule(segment=segment, operation=name) for name in after)
        facts = {"before": {"needs_approval": before}, "after": {"needs_approval": after}}
        record(EventAction.SEGMENT_CHANGED, target=segment, actor=actor, **facts)  # type: ignore[arg-type]
    return after


@transaction.atomic
def broken_glass_acknowledge(*, actor: Actor, broken: BrokenGlass, note: str = "") -> BrokenGlass:
    """Take note of it, as an auditor: READ_AUDIT on everything, and not about one's own job."""
    gate.authorise(actor, Action.READ_AUDIT)
    broken = BrokenGlass.objects.select_for_update(of=("self",)).select_related("job").get(pk=broken.pk)
    if broken.acknowledged_at is not None:
        raise InvalidTransition("It has been acknowledged already.")
    if isinstance(actor, System) or broken.job.requested_by_id == actor.pk:
        raise NotAdmitted("own_request", "Whoever broke the glass does not acknowledge it.")
    broken.acknowledged_by, broken.acknowledged_at, broken.note = actor, timezone.now(), note
    broken.save()
    record(EventAction.BROKEN_GLASS_ACKNOWLEDGED, target=broken.job, actor=actor, reason=note)
    return broken


def _waiting(actor: Actor, job: Job) -> tuple[Job, Approval]:
    """The job, locked, and its open request. Raises NotVisible, NotAllowed, InvalidTransition."""
    job = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    authorise_decision(actor, job)
    if job.state != State.AWAITING_APPROVAL:
        raise InvalidTransition("The job does not wait for an approval.")
    approval = Approval.objects.get(job=job)
    if approval.expires_at <= timezone.now():
        raise InvalidTransition("The request has expired; it has to be made again.")
    return job, approval


def _decide(approval: Approval, actor: Actor, verdict: Approval.Verdict, reason: str) -> None:
    approval.verdict, approval.decided_at, approval.reason = verdict, timezone.now(), reason
    approval.decided_by = None if isinstance(actor, System) else actor
    approval.save()
