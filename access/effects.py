"""What a user's rows say about given objects: the one statement behind every check of the gate.

Written as SQL, once for all scopes, since it runs before each effect of each job: building the same statement out of
querysets costs twenty times what running it does. A property test holds it to the querysets that narrow lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from django.db import connection

if TYPE_CHECKING:
    from access.models import User

#: (scope, id) -> actions. The scope "everything" has the id 0.
Effects = Mapping[tuple[str, Any], set[str]]

EVERYTHING = ("everything", 0)

#: The database's own clock, in the form in which it keeps moments.
_NOW = {"sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')", "postgresql": "STATEMENT_TIMESTAMP()"}

_LIVE = "(expires_at IS NULL OR expires_at > {now})"

_ON_EVERYTHING = f"""
SELECT 'everything', 0, action, effect
  FROM access_everythingpermission
 WHERE (user_id = %s OR group_id IN (SELECT team_id FROM access_membership WHERE user_id = %s)) AND {_LIVE}"""  # noqa: S608

_ON_SCOPE = f"""
SELECT '{{scope}}', content_object_id, codename, effect
  FROM access_user{{scope}}permission row JOIN auth_permission ON auth_permission.id = row.permission_id
 WHERE row.user_id = %s AND content_object_id IN ({{ids}}) AND {_LIVE}
 UNION ALL
SELECT '{{scope}}', content_object_id, codename, effect
  FROM access_team{{scope}}permission row JOIN auth_permission ON auth_permission.id = row.permission_id
 WHERE row.group_id IN (SELECT team_id FROM access_membership WHERE user_id = %s)
   AND content_object_id IN ({{ids}}) AND {_LIVE}"""  # noqa: S608

_ACTIVE = "SELECT 1 FROM access_user WHERE id = %s AND is_active = %s"

_SCOPES = frozenset({"segment", "vm", "host", "cluster"})


def effects(user: User, wanted: Mapping[str, Collection[int]]) -> tuple[Effects, Effects]:
    """Actions allowed and denied to the user by live rows, own and through teams, on the wanted ids of each scope and
    on everything. A user who is inactive by now holds no row. One SQL statement.
    """
    now = _NOW[connection.vendor]
    parts, values = [_ON_EVERYTHING.format(now=now)], [user.pk, user.pk]
    for scope, ids in wanted.items():
        if ids:
            parts.append(_part(scope, len(ids), now))
            values += [user.pk, *ids, user.pk, *ids]
    statement = f"SELECT * FROM ({' UNION ALL '.join(parts)}) held WHERE EXISTS ({_ACTIVE})"  # noqa: S608
    allowed: dict[tuple[str, Any], set[str]] = defaultdict(set)
    denied: dict[tuple[str, Any], set[str]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, user.pk, True])
        for scope, target, action, effect in cursor:
            (allowed if effect == "allow" else denied)[scope, target].add(action)
    return allowed, denied


def _part(scope: str, count: int, now: str) -> str:
    """One scope's rows. Only names of scopes from this file ever reach the text; ids go as values."""
    if scope not in _SCOPES:
        raise ValueError(f"{scope} is no scope")
    return _ON_SCOPE.format(scope=scope, ids=", ".join(["%s"] * count), now=now)
