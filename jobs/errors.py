"""Why a job is refused, ends, or stops. `code` is stable; the message is one sentence that a person can act on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.models import Job


class JobError(Exception):
    """The family."""

    code = "job_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(JobError):
    """The request is malformed: unknown operation, wrong target, bad parameter. `field` names the input."""

    code = "invalid"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotAdmitted(JobError):
    """The request is well-formed, but what is known of the target speaks against it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TargetBusy(JobError):
    """Another job holds the target."""

    code = "busy"

    def __init__(self, target: object, holder: Job | None) -> None:
        doing = f" by a running job ({holder.label})" if holder is not None else ""
        super().__init__(f"{target} is held{doing}; wait for it or cancel it.")
        self.holder = holder


class IdempotencyMismatch(JobError):
    """An Idempotency-Key was used again with another request."""

    code = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before with a different request.")


class InvalidTransition(JobError):
    """The job's state does not allow that."""

    code = "invalid_transition"


class OperationFailed(JobError):
    """An expected refusal or failure inside a job: it ends `failed`, with this reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OutcomeUnknown(JobError):
    """A host did not answer after an effect was begun: the job keeps its locks and is taken up again later."""

    code = "outcome_unknown"


class WaitForParts(JobError):
    """The job has done what it can for now, and goes on when one of its parts has news, or at `until`.

    `news` is how much of that there was when it looked.
    """

    code = "waits_for_parts"

    def __init__(self, *, news: int, until: datetime | None = None) -> None:
        super().__init__("It waits for its parts.")
        self.news = news
        self.until = until


class CancelRequested(JobError):
    """Somebody asked to cancel, and the operation has stopped where it safely could."""

    code = "cancelled"


class RightWithdrawn(JobError):
    """The requester no longer holds the right that the job needs."""

    code = "right_withdrawn"


class Fenced(Exception):
    """This worker no longer owns the job: its lease ran out and the job was taken up by another. Stop, touch
    nothing.
    """
