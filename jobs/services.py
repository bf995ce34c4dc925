"""Submitting and cancelling jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from access import gate
from access.gate import Actor, System
from audit.context import current
from audit.events import EventAction
from audit.record import record
from inventory.models import VM
from jobs.approvals import Work, ask_for_approval, break_glass, covers, digest_of, needs_approval, withdrawn
from jobs.errors import IdempotencyMismatch, InvalidRequest, InvalidTransition, NotAdmitted
from jobs.locking import lock
from jobs.models import Job
from jobs.operations.base import Operation
from jobs.operations.registry import operation_named
from jobs.queue import nudge_on_commit
from jobs.states import LEASED, State
from jobs.transitions import advance, wake


@transaction.atomic
def job_submit(
    *,
    actor: Actor,
    operation: str,
    target: Any,
    params: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    break_glass_reason: str = "",
    parent: Job | None = None,
) -> Job:
    """Accept work on a target: authorise, admit, lock, insert, record, and nudge a worker on commit.

    Work that needs approval waits for it instead, without a lock; with a `break_glass_reason`, who could approve it
    for others goes ahead alone, which alarms. With an `idempotency_key` that the actor used before for the same
    request, returns that job, marked `is_replay`. A part of a `parent` never waits: where it needs approval, that of
    the parent covers it, or it is not admitted.

    Raises NotVisible, NotAllowed, InvalidRequest, NotAdmitted, TargetBusy, IdempotencyMismatch.
    """
    kind = operation_named(operation)
    alone = break_glass_reason.strip()
    digest = digest_of(operation, target, {"params": params, "break_glass": True} if alone else params)
    earlier = _earlier(actor, idempotency_key, digest)
    if earlier is not None:
        return earlier
    if target is None or target._meta.model_name != kind.target_kind:
        raise InvalidRequest(f"{kind.name} works on a {kind.target_kind}.", field="target")
    gate.authorise(actor, kind.action, target)
    cleaned = kind.clean(params or {})
    _admit(actor, kind, target, cleaned, parent)
    extent = kind.extent(actor, target, cleaned)
    must_ask = _must_ask(actor, Work(kind, target, cleaned, extent), parent)
    waits = must_ask and not alone
    job = _new(actor, kind, target, cleaned, waits)
    job.parent, job.journal = parent, {"extent": _segments_of(extent)} if extent else {}
    job.idempotency_key, job.request_digest = idempotency_key, digest
    earlier = _insert(job, actor)
    if earlier is not None:
        return earlier
    if waits:
        ask_for_approval(job)
    else:
        lock(job, kind.lock_targets(target))
    record(EventAction.JOB_SUBMITTED, target=job, actor=actor, after=_facts(job))
    if must_ask and alone:
        break_glass(actor, job, alone)
    if not waits:
        nudge_on_commit(job)
    return job


def _admit(actor: Actor, kind: Operation, target: Any, params: dict[str, Any], parent: Job | None) -> None:
    """Refuse what is known to speak against it; nothing is begun on a VM that two hosts ran at once. Raises
    NotAdmitted, NotAllowed, NotVisible.
    """
    why = target.why_stopped if isinstance(target, VM) else ""
    if why:
        raise NotAdmitted("split_brain", why)
    if parent is None:
        kind.admit(actor, target, params)
    else:
        kind.admit_part(actor, target, params, parent)


def _must_ask(actor: Actor, work: Work, parent: Job | None) -> bool:
    """Whether work needs approval that it has not got. Raises NotAdmitted for a part: nothing waits inside a job."""
    if not needs_approval(actor, work, parent) or (parent is not None and covers(parent, work.target)):
        return False
    if parent is not None:
        raise NotAdmitted("needs_approval", f"In the segment of {work.target} this needs somebody else's approval.")
    return True


def _segments_of(extent: list[int]) -> dict[str, int | None]:
    """VM -> the segment it is in now, by id."""
    found = VM.objects.filter(pk__in=extent).order_by("pk").values_list("pk", "segment_id")
    return {str(pk): segment for pk, segment in found}


def _facts(job: Job) -> dict[str, Any]:
    """What the record keeps of a request."""
    facts = {"operation": job.operation, "target": job.target_name, "params": job.params, "state": job.state}
    return facts | ({"part_of": str(job.parent_id)} if job.parent_id else {})


def _insert(job: Job, actor: Actor) -> Job | None:
    """Insert a new job; instead returns the same request's job, if another process committed it meanwhile."""
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError:
        earlier = _earlier(actor, job.idempotency_key, job.request_digest)
        if earlier is None:
            raise
        return earlier
    return None


def _new(actor: Actor, kind: Operation, target: Any, params: dict[str, Any], waits: bool) -> Job:
    """A job, not saved yet."""
    job = Job(
        state=State.AWAITING_APPROVAL if waits else State.QUEUED,
        operation=kind.name,
        target_name=str(target),
        params=params,
        requested_by=None if isinstance(actor, System) else actor,
        requester_name=actor.username,
        request_id=current().request_id,
        nudged_at=timezone.now(),
    )
    setattr(job, kind.target_kind, target)
    return job


@transaction.atomic
def job_cancel(*, actor: Actor, job: Job, reason: str = "") -> Job:
    """Cancel a job that waits, or ask a running one to stop. Needs the operation's right on the target.

    Asking twice is no error. Raises NotVisible, NotAllowed, InvalidTransition when it is over.
    """
    job = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    gate.authorise(actor, operation_named(job.operation).action, job.target)
    if job.state == State.CANCELLING:
        return job
    if job.is_over:
        raise InvalidTransition(f"The job is over: it {State(job.state).label.lower()}.")
    asked: dict[str, Any] = {"cancel_requested_at": timezone.now(), "cancel_requested_by": actor.username}
    if job.state in LEASED:
        return advance(job, State.CANCELLING, reason=reason, **asked)
    if job.state in (State.LOST, State.WAITING) or (job.state == State.QUEUED and job.attempts):
        Job.objects.filter(pk=job.pk).update(**asked)  # the worker that takes it up again will stop it
        record(EventAction.JOB_CANCEL_REQUESTED, target=job, actor=actor, reason=reason)
        job.refresh_from_db()
        if job.state == State.WAITING:
            wake(job)
        return job
    withdrawn(job)
    return advance(
        job, State.CANCELLED, reason=reason, error_code="cancelled",
        error_message=f"Cancelled by {actor.username} before it began.", **asked,
    )  # fmt: skip


def _earlier(actor: Actor, idempotency_key: str | None, digest: str) -> Job | None:
    """This actor's job with this key, marked as a replay. Raises IdempotencyMismatch when it was another request."""
    if idempotency_key is None or isinstance(actor, System):
        return None
    earlier = Job.objects.filter(requested_by=actor, idempotency_key=idempotency_key).first()
    if earlier is None:
        return None
    if earlier.request_digest != digest:
        raise IdempotencyMismatch
    earlier.is_replay = True
    return earlier
