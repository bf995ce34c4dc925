"""The models of the permission rows, scope by scope. Read by `access.effects`, written by `access.services.grants`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import QuerySet

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


def team_ids(user: User) -> QuerySet[Any, Any]:
    """Ids of the teams the user is in, as a subquery."""
    membership = apps.get_model("access", "Membership")
    return membership.objects.filter(user_id=user.pk).values("team_id")
