"""Every view declares its action. One that does not is answered with 403, so that a forgotten check is never an open
door.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from access.actions import Action

V = TypeVar("V", bound=Callable[..., Any])


class Public:
    """Declares a view that needs no sign-in (the sign-in page itself, health)."""


class SignedIn:
    """Declares a view for everybody who is signed in: it shows only what the scoped querysets let through."""


PUBLIC: Final = Public()
SIGNED_IN: Final = SignedIn()
Declaration = Action | Public | SignedIn


def declares(action: Declaration) -> Callable[[V], V]:
    """Declare a function view's action (a class view sets `declared_action`)."""

    def mark(view: V) -> V:
        view.declared_action = action  # type: ignore[attr-defined]
        return view

    return mark


def declaration_of(view: Any) -> Declaration | None:
    """What a resolved view declares, or None: its own mark, or that of the class behind it (Django's, DRF's or a
    view set's).
    """
    for candidate in (view, getattr(view, "view_class", None), getattr(view, "cls", None)):
        found = getattr(candidate, "declared_action", None)
        if isinstance(found, Action | Public | SignedIn):
            return found
    return None
