"""Changing a job's state: one function, by compare-and-set, with its audit event in the same transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from audit.events import EventAction, Outcome
from audit.record import record
from jobs.errors import Fenced, InvalidTransition
from jobs.models import Control, Job, JobLock
from jobs.queue import nudge_on_commit
from jobs.states import LEASED, TERMINAL, State, allowed
from jobs.storable import storable

_EVENTS: dict[State, tuple[EventAction, Outcome]] = {
    State.SCHEDULED: (EventAction.JOB_SCHEDULED, Outcome.OK),
    State.QUEUED: (EventAction.JOB_QUEUED, Outcome.OK),
    State.RUNNING: (EventAction.JOB_STARTED, Outcome.OK),
    State.WAITING: (EventAction.JOB_WAITS, Outcome.OK),
    State.CANCELLING: (EventAction.JOB_CANCEL_REQUESTED, Outcome.OK),
    State.LOST: (EventAction.JOB_LOST, Outcome.UNKNOWN),
    State.SUCCEEDED: (EventAction.JOB_SUCCEEDED, Outcome.OK),
    State.FAILED: (EventAction.JOB_FAILED, Outcome.FAILED),
    State.ERRORED: (EventAction.JOB_ERRORED, Outcome.FAILED),
    State.CANCELLED: (EventAction.JOB_CANCELLED, Outcome.OK),
}


@transaction.atomic
def advance(
    job: Job,
    to: State,
    *,
    reason: str = "",
    detail: dict[str, Any] | None = None,
    event: EventAction | None = None,
    **changes: Any,
) -> Job:
    """Bring a job from the state and fence it was loaded with to another state, and record it, as `event` where the
    state alone would not tell how it came about.

    `changes` are further columns written by the same statement. Leaving for a terminal state frees its locks. Raises
    InvalidTransition when the table forbids it, Fenced when somebody else changed the job meanwhile.
    """
    current = State(job.state)
    if not allowed(current, to):
        raise InvalidTransition(f"A job that is {current.label.lower()} cannot become {to.label.lower()}.")
    changes = storable(changes)
    now = timezone.now()
    if to is State.RUNNING:
        changes = {
            "fence": job.fence + 1,
            "attempts": job.attempts + 1,
            "heartbeat_at": now,
            "started_at": job.started_at or now,
        } | changes
    if to in TERMINAL:
        changes = {"finished_at": now} | changes
    changed = Job.objects.filter(pk=job.pk, state=current, fence=job.fence).update(state=to, **changes)
    if not changed:
        raise Fenced(f"{job} changed meanwhile")
    job.state = to
    for name, value in changes.items():
        setattr(job, name, value)
    if to in TERMINAL:
        _let_go(job, now)
    action, outcome = _EVENTS[to]
    record(
        event or action,
        target=job,
        outcome=outcome,
        reason=reason,
        before={"state": current},
        after={"state": to},
        detail=detail,
    )
    return job


def _let_go(job: Job, now: datetime) -> None:
    """Of a job that ends: its locks, what is still asked of it, and the parent that waits for it."""
    JobLock.objects.filter(job=job).delete()
    if job.operation == "vm.migrate":
        waiting = Control.objects.filter(job=job, outcome=Control.Outcome.WAITING)
        waiting.update(outcome=Control.Outcome.REFUSED, note="The migration was over.", settled_at=now)
    _wake_parent(job)


def release(job: Job, to: State, **changes: Any) -> Job:
    """Bring a job that this worker runs to an end, or give it up as lost; a cancel asked for meanwhile is no obstacle.

    Raises Fenced when the job is no longer this worker's.
    """
    for _attempt in range(3):
        state = Job.objects.filter(pk=job.pk, fence=job.fence, state__in=LEASED).values_list("state", flat=True).first()
        if state is None:
            break
        job.state = state
        try:
            return advance(job, to, **changes)
        except Fenced:
            continue  # the cancel came between the two statements
    raise Fenced(f"{job} is no longer ours")


def wake(job: Job) -> bool:
    """Queue a job that waits for its parts, for its next look at them. Returns whether it still waited."""
    try:
        advance(job, State.QUEUED, nudged_at=timezone.now(), not_before=None)
    except Fenced:
        return False
    nudge_on_commit(job)
    return True


def done(job: Job) -> None:
    """The job has done its work, and only verifies it from here on: what it is a part of may go on."""
    _wake_parent(job)


def _wake_parent(part: Job) -> None:
    """Wake what waits for a part that has news in this transaction. That the work it was already woken for has been
    verified is none, while another part is to come.

    The parent's row is locked whatever its state: a parent that is about to wait either sees the news (`wait`), or is
    seen waiting here; and of two parts that end at once, the second sees that it is the last.
    """
    if part.parent_id is None:
        return
    parent = Job.objects.select_for_update(of=("self",)).get(parts=part)
    if parent.state != State.WAITING:
        return
    if part.state != State.SUCCEEDED or not parent.parts.unfinished().exists():
        wake(parent)


def wait(job: Job, *, news: int, **changes: Any) -> None:
    """Let a job that this worker runs wait for its parts, which had so much news when it looked. If there is more by
    now, or a cancel was asked for that it has not seen to, it is queued again at once. Raises Fenced.
    """
    release(job, State.WAITING, attempts=1, **changes)  # it got on: workers it loses from here on are counted anew
    asked = Job.objects.filter(pk=job.pk, cancel_requested_at__isnull=False).exists()
    if (asked and "stopping" not in job.journal) or job.parts.news() > news:
        wake(job)


def write(job: Job, **changes: Any) -> None:
    """Write columns of a job that this worker runs. Raises Fenced when it is no longer this worker's."""
    changes = storable(changes)
    changed = Job.objects.filter(pk=job.pk, fence=job.fence, state__in=LEASED).update(**changes)
    if not changed:
        raise Fenced(f"{job} is no longer ours")
    for name, value in changes.items():
        setattr(job, name, value)
