"""Marking what is done with every right there is.

No account is a superuser. Whoever holds every action on everything comes nearest: the installation's first account, and
those who were given as much. That is for installing and for emergencies, so each use of it is marked in the record.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from access import gate
from access.actions import Action

ADMINISTRATOR = "administrator"


def standing_of(user: Any) -> Callable[[], str]:
    """Finds out, when first asked, whether a user acts as an administrator; "" for everybody else."""

    @cache
    def found() -> str:
        return ADMINISTRATOR if user.is_authenticated and gate.held_on(user) == set(Action) else ""

    return found
