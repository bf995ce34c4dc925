"""The scoped queryset: how every list, form choice, lookup and check is narrowed to what a user may see or do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from django.db import models
from django.db.models import Q

from access.actions import Action
from access.effects import on_everything, targets

if TYPE_CHECKING:
    from access.models import User

M = TypeVar("M", bound=models.Model)


def _covered(user: User, scopes: dict[str, tuple[str, ...]], action: Action, effect: str) -> Q:
    """Objects that some live row of the user covers with this effect."""
    covered = Q(on_everything(user, action, effect))
    for scope, paths in scopes.items():
        ids = targets(user, scope, action, effect)
        for path in paths:
            covered |= Q(**{f"{path}__in": ids})
    return covered


class ScopedQuerySet(models.QuerySet[M]):
    """A queryset of protected objects.

    `scopes` says how each kind of grant reaches the model: scope name -> paths to that scope's id. A model whose
    scopes lack "host" cannot be reached by a grant on a host; that is how host grants never reach the VMs on them.
    """

    scopes: ClassVar[dict[str, tuple[str, ...]]] = {}

    def visible_to(self, user: Any, action: Action = Action.VIEW) -> Self:
        """Objects on which the user holds `action`, and VIEW (without it they do not exist for the user).

        Allowed by at least one live row and denied by none. Inactive and anonymous users hold nothing.
        """
        if not getattr(user, "is_active", False) or user.pk is None:
            return self.none()
        if not self.scopes:
            raise TypeError(f"{type(self).__name__} declares no scopes.")
        result = self
        for needed in {Action.VIEW, action}:
            result = result.filter(_covered(user, self.scopes, needed, "allow"))
            result = result.exclude(_covered(user, self.scopes, needed, "deny"))
        return result
