"""What an error of the inner layers is to the outside: one table, for pages and the API alike."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied
from django.http import Http404

from access.errors import InvalidAccessRequest, NotAllowed, NotVisible
from audit.events import EventAction, Outcome
from audit.record import record_alone
from console.errors import NoHost
from inventory.errors import InvalidInventoryRequest, InventoryConflict
from jobs.errors import IdempotencyMismatch, InvalidRequest, InvalidTransition, NotAdmitted, TargetBusy


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem: status, stable code, and the sentence for a person."""

    status: int
    title: str
    code: str
    detail: str
    field: str = ""


_STATUS: dict[type[Exception], tuple[int, str]] = {
    NotVisible: (404, "Not found"),
    NotAllowed: (403, "Not allowed"),
    InvalidAccessRequest: (400, "Invalid request"),
    InvalidInventoryRequest: (400, "Invalid request"),
    InventoryConflict: (409, "Conflict"),
    NoHost: (409, "Conflict"),
    InvalidRequest: (400, "Invalid request"),
    NotAdmitted: (422, "Not admitted"),
    TargetBusy: (409, "Busy"),
    IdempotencyMismatch: (409, "Idempotency key reused"),
    InvalidTransition: (409, "Not possible now"),
}


def problem_of(error: Exception) -> Problem | None:
    """The problem an error is, or None for one that is not foreseen (a bug: 500)."""
    if isinstance(error, Http404):
        return Problem(404, "Not found", "not_found", "There is no such object.")
    if isinstance(error, PermissionDenied):
        return Problem(403, "Not allowed", "not_allowed", "You may not do that.")
    for kind, (status, title) in _STATUS.items():
        if isinstance(error, kind):
            return Problem(status, title, getattr(error, "code", "error"), str(error), getattr(error, "field", ""))
    return None


def record_refusal(error: Exception) -> None:
    """Write a refusal into the record, by itself: whatever transaction it broke off has been rolled back."""
    if not isinstance(error, NotAllowed | NotVisible):
        return
    record_alone(
        EventAction.ACCESS_REFUSED,
        target=error.target,
        outcome=Outcome.REFUSED,
        actor=error.user,
        detail={"action": error.action.value, "answer": error.code},
    )
