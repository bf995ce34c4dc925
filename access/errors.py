"""Refusals and invalid requests of the access layer, as facts; the faces turn them into answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from access.actions import Action


class AccessError(Exception):
    """The family. `code` is stable; `str(error)` is one sentence for a person."""

    code = "access_error"


class Refused(AccessError):
    """An action was refused. Carries who, what and on what, so that the boundary can record it by itself."""

    def __init__(self, message: str, *, user: Any, action: Action, target: Any) -> None:
        super().__init__(message)
        self.user = user
        self.action = action
        self.target = target


class NotAllowed(Refused):
    """The object may be seen, but the action is not allowed on it."""

    code = "not_allowed"

    def __init__(self, *, user: Any, action: Action, target: Any) -> None:
        where = f" on {target}" if target is not None else ""
        super().__init__(f"You do not hold the right “{action.label}”{where}.", user=user, action=action, target=target)


class NotVisible(Refused):
    """The object does not exist for this user: answered as if it did not exist at all."""

    code = "not_found"

    def __init__(self, *, user: Any, action: Action, target: Any) -> None:
        super().__init__("There is no such object.", user=user, action=action, target=target)


class InvalidAccessRequest(AccessError):
    """A request to change access that makes no sense (a grant without a holder, an end in the past)."""

    code = "invalid"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
