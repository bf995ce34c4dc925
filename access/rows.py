"""Reading the permission rows: the queries out of which the gate is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from access.actions import Action

if TYPE_CHECKING:
    from access.models import User

#: scope -> names of the models with user rows and team rows.
_TABLES = {
    scope: (f"User{name}Permission", f"Team{name}Permission")
    for scope, name in {"segment": "Segment", "vm": "VM", "host": "Host", "cluster": "Cluster"}.items()
}


def row_models(scope: str) -> tuple[Any, Any]:
    """The user-row and the team-row model of a scope ("segment", "vm", "host", "cluster")."""
    user_table, team_table = _TABLES[scope]
    return apps.get_model("access", user_table), apps.get_model("access", team_table)


def live() -> Q:
    """Rows that have not ended, by the database's clock."""
    return Q(expires_at__isnull=True) | Q(expires_at__gt=Now())


def team_ids(user: User) -> QuerySet[Any, Any]:
    """Ids of the teams the user is in, as a subquery."""
    membership = apps.get_model("access", "Membership")
    return membership.objects.filter(user_id=user.pk).values("team_id")


def held_by(user: User, scope: str) -> tuple[QuerySet[Any], QuerySet[Any]]:
    """The user's live rows in a scope: own, and through teams."""
    user_rows, team_rows = row_models(scope)
    return (
        user_rows.objects.filter(live(), user_id=user.pk),
        team_rows.objects.filter(live(), group_id__in=team_ids(user)),
    )


def everything_held_by(user: User) -> QuerySet[Any]:
    """The user's live rows on everything, own and through teams."""
    everything = apps.get_model("access", "EverythingPermission")
    return everything.objects.filter(live()).filter(Q(user_id=user.pk) | Q(group_id__in=team_ids(user)))


def target_ids(user: User, scope: str, action: Action, effect: str) -> list[QuerySet[Any, Any]]:
    """Ids of the targets on which the user has this effect for this action: two subqueries."""
    return [
        rows.filter(permission__codename=action.value, effect=effect).values("content_object_id")
        for rows in held_by(user, scope)
    ]
