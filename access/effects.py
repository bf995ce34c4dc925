"""The permission rows, read by SQL: the statements out of which lists are narrowed and checks are answered.

Written once for all scopes. Building the same out of querysets took twenty times as long as running it, and it runs
with every page, and before each effect of each job. Names of scopes come from this file; everything else goes as a
value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from access.actions import Action

if TYPE_CHECKING:
    from access.models import User

SCOPES = frozenset({"segment", "vm", "host", "cluster"})

#: (scope, id) -> actions. The scope "everything" has the id 0.
Effects = Mapping[tuple[str, Any], set[str]]
EVERYTHING = ("everything", 0)

#: The database's own clock, in the form in which it keeps moments.
_NOW = {"sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", "postgresql": "STATEMENT_TIMESTAMP()"}

#: Whether a column is among what a subquery finds. As an array, PostgreSQL finds that out first and then goes by an
#: index; of a join it can't foresee how few rows it leaves, and reads the whole table.
_AMONG = {"sqlite": "IN ({})", "postgresql": "= ANY (ARRAY({}))"}
_TEAMS = "SELECT team_id FROM access_membership WHERE user_id = %s"
#: One for each model that has actions; a table of rows holds those of its own model.
_PERMISSIONS = "SELECT id FROM auth_permission WHERE codename = %s"

_ON_EVERYTHING = """
SELECT {columns}
  FROM access_everythingpermission
 WHERE (user_id = %s OR group_id {among_teams}) AND (expires_at IS NULL OR expires_at > {now}){more}"""

_ON_SCOPE = """
SELECT {columns}
  FROM access_user{scope}permission held
 WHERE held.user_id = %s AND (expires_at IS NULL OR expires_at > {now}){more}
 UNION ALL
SELECT {columns}
  FROM access_team{scope}permission held
 WHERE held.group_id{aside} {among_teams} AND (expires_at IS NULL OR expires_at > {now}){more}"""

#: What is put behind a row's team where the objects are few and named: PostgreSQL, which can't foresee in how few teams
#: somebody is, would go by the index of teams as well, and read all rows of them all. A sum is in no index.
_NOT_BY_INDEX = " + 0"

#: Rows, each with its action's name, of somebody who is active.
_NAMED = """
SELECT scope, target, COALESCE(codename, action), effect
  FROM ({rows}) held LEFT JOIN auth_permission ON auth_permission.id = permission_id
 WHERE EXISTS (SELECT 1 FROM access_user WHERE id = %s AND is_active = %s)"""


def targets(user: User, scope: str, action: Action, effect: str) -> RawSQL:
    """Ids of the objects of a scope on which the user has this effect for this action, as a subquery for `__in`."""
    of_action = f" AND held.permission_id {_AMONG[connection.vendor].format(_PERMISSIONS)} AND effect = %s"
    statement = _on_scope(scope, "content_object_id", of_action)
    return RawSQL(statement, [user.pk, action.value, effect] * 2)  # noqa: S611 - values go as values


def on_everything(user: User, action: Action, effect: str) -> RawSQL:
    """Whether the user has this effect for this action on everything, as a condition."""
    statement = _on_everything("1", " AND action = %s AND effect = %s")
    values = [user.pk, user.pk, action.value, effect]
    return RawSQL(f"EXISTS ({statement})", values, output_field=BooleanField())  # noqa: S611 - values go as values


def effects(user: User, wanted: Mapping[str, Collection[int]]) -> tuple[Effects, Effects]:
    """Actions allowed and denied to the user by live rows, own and through teams, on the wanted ids of each scope and
    on everything. A user who is inactive by now holds no row. One SQL statement.
    """
    columns = "'everything' AS scope, 0 AS target, action, CAST(NULL AS integer) AS permission_id, effect"
    parts, values = [_on_everything(columns)], [user.pk, user.pk]
    for scope, ids in wanted.items():
        if ids:
            among = f" AND content_object_id IN ({', '.join(['%s'] * len(ids))})"
            columns = f"'{scope}', content_object_id, NULL, permission_id, effect"
            parts.append(_on_scope(scope, columns, among, _NOT_BY_INDEX))
            values += [user.pk, *ids] * 2
    statement = _NAMED.format(rows=" UNION ALL ".join(parts))
    allowed: dict[tuple[str, Any], set[str]] = defaultdict(set)
    denied: dict[tuple[str, Any], set[str]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, user.pk, True])
        for scope, target, action, effect in cursor:
            (allowed if effect == "allow" else denied)[scope, target].add(action)
    return allowed, denied


def _on_scope(scope: str, columns: str, more: str, aside: str = "") -> str:
    if scope not in SCOPES:
        raise ValueError(f"{scope} is no scope")
    return _ON_SCOPE.format(scope=scope, columns=columns, more=more, aside=aside, **_of_database())


def _on_everything(columns: str, more: str = "") -> str:
    return _ON_EVERYTHING.format(columns=columns, more=more, **_of_database())


def _of_database() -> dict[str, str]:
    vendor = connection.vendor
    return {"now": _NOW[vendor], "among_teams": _AMONG[vendor].format(_TEAMS)}
