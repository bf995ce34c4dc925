"""The states of a job, and the one table of how it may go from one to another."""

from __future__ import annotations

from django.db.models import TextChoices


class State(TextChoices):
    """Where a job stands."""

    AWAITING_APPROVAL = "awaiting_approval", "Awaiting approval"
    SCHEDULED = "scheduled", "Scheduled"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    WAITING = "waiting", "Waits for its parts"
    CANCELLING = "cancelling", "Cancelling"
    LOST = "lost", "Lost its worker"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    ERRORED = "errored", "Errored"
    CANCELLED = "cancelled", "Cancelled"


#: A worker is on it, and must keep its lease.
LEASED = frozenset({State.RUNNING, State.CANCELLING})
#: It holds its locks: nothing else may touch the same VM or host.
LOCKING = LEASED | {State.QUEUED, State.LOST, State.WAITING}
#: The phase of a job that has done what it was to do, and looks at it once more.
VERIFYING = "verifying"
#: It is over.
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.ERRORED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.AWAITING_APPROVAL: frozenset({State.SCHEDULED, State.QUEUED, State.CANCELLED}),
    State.SCHEDULED: frozenset({State.QUEUED, State.CANCELLED, State.FAILED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.CANCELLING, State.LOST, State.WAITING, *TERMINAL}),
    State.WAITING: frozenset({State.QUEUED}),
    State.CANCELLING: frozenset({State.LOST, State.WAITING, *TERMINAL}),
    State.LOST: frozenset({State.QUEUED, State.FAILED, State.ERRORED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.ERRORED: frozenset(),
    State.CANCELLED: frozenset(),
}


def allowed(current: State, to: State) -> bool:
    """Whether a job may go from one state to the other."""
    return to in TRANSITIONS[current]
