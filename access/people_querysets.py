"""Who sees which people, teams and grants. These have no permission rows of their own: membership and `everything`
decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.apps import apps
from django.contrib.auth.models import UserManager as DjangoUserManager
from django.db import models
from django.db.models import Q

from access import rows
from access.actions import Action
from access.effects import SCOPES, on_everything

if TYPE_CHECKING:
    from access.models import AccessRequest, Grant, Team, User  # noqa: F401 - type parameters


def _holds_everywhere(user: User, action: Action) -> Q:
    held = Q()
    for needed in {Action.VIEW, action}:  # without VIEW nothing is held, here as anywhere
        held &= Q(on_everything(user, needed, "allow")) & ~Q(on_everything(user, needed, "deny"))
    return held


def _is_active(user: Any) -> bool:
    return bool(getattr(user, "is_active", False)) and user.pk is not None


class UserQuerySet(models.QuerySet["User"]):
    def visible_to(self, user: Any, action: Action = Action.VIEW) -> Self:
        """Oneself and one's teams' members; everybody for who holds `action` on everything."""
        if not _is_active(user):
            return self.none()
        seen = _holds_everywhere(user, action)
        if action == Action.VIEW:
            seen |= Q(pk=user.pk) | Q(pk__in=_team_mates(user))
        return self.filter(seen)


class UserManager(DjangoUserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]  # built at run time
    """Django's manager with the scoped queryset."""


class TeamQuerySet(models.QuerySet["Team"]):
    def visible_to(self, user: Any, action: Action = Action.VIEW) -> Self:
        """One's own teams; every team for who holds `action` on everything."""
        if not _is_active(user):
            return self.none()
        seen = _holds_everywhere(user, action)
        if action == Action.VIEW:
            seen |= Q(pk__in=rows.team_ids(user))
        return self.filter(seen)


class GrantQuerySet(models.QuerySet["Grant"]):
    def visible_to(self, user: Any, action: Action = Action.VIEW) -> Self:
        """One's own and one's teams' grants; those on an object on which one may grant; all for who grants everywhere,
        and for auditors to look at.
        """
        if not _is_active(user):
            return self.none()
        seen = _holds_everywhere(user, Action.GRANT)
        if action == Action.VIEW:
            seen |= _holds_everywhere(user, Action.READ_AUDIT)
            seen |= Q(user_id=user.pk) | Q(team_id__in=rows.team_ids(user))
        for scope in sorted(SCOPES):
            objects: Any = self.model._meta.get_field(scope).related_model
            seen |= Q(**{f"{scope}__in": objects.objects.visible_to(user, Action.GRANT)})
        return self.filter(seen)


class AccessRequestQuerySet(models.QuerySet["AccessRequest"]):
    def visible_to(self, user: Any, action: Action = Action.VIEW) -> Self:
        """One's own; those on what one may approve for; all for auditors."""
        if not _is_active(user):
            return self.none()
        decides = Q(pk__in=[])
        seen = Q(user_id=user.pk) | _holds_everywhere(user, Action.READ_AUDIT) if action == Action.VIEW else Q()
        for scope in sorted(SCOPES):
            rows: Any = apps.get_model("inventory", scope).objects
            decides |= Q(**{f"{scope}__in": rows.visible_to(user, Action.APPROVE)})
        return self.filter(seen | decides)


def _team_mates(user: User) -> Any:
    from access.models import Membership

    return Membership.objects.filter(team_id__in=rows.team_ids(user)).values("user_id")
