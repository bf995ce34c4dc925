"""The one gate. Lists, details, form choices, actions, the API and running jobs all ask here, and here only.

Lists are narrowed by `visible_to`, checks and buttons are answered by `held_on` and `actions_on`; a property test holds
the three to the same plain rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Exists

from access.actions import Action
from access.effects import EVERYTHING, Effects, effects
from access.errors import NotAllowed, NotVisible

if TYPE_CHECKING:
    from access.models import User


class System:
    """The installation itself: first start, schedules, the operator at the machine's command line. Holds every
    right.
    """

    pk = None
    username = "system"
    is_active = True

    def __str__(self) -> str:
        return "Slipway"


SYSTEM = System()
Actor: TypeAlias = Union["User", System]
#: Where rows may lie: a scope and the id in it.
Key: TypeAlias = tuple[str, Any]


def can(actor: Actor, action: Action, target: Any = None) -> bool:
    """Whether the actor may do `action` to `target`; to everything there is, when `target` is None."""
    return action in held_on(actor, target, {action})


def held_on(actor: Actor, target: Any = None, among: Collection[Action] = frozenset(Action)) -> set[Action]:
    """Those of `among` that the actor holds on one object, as the database has it now; on everything, without one."""
    if isinstance(actor, System):
        return set(among)
    if not actor.is_active or actor.pk is None:
        return set()
    if target is None:
        return decided(*effects(actor, {}), [EVERYTHING]).intersection(among)
    manager: Any = type(target)._default_manager
    if not hasattr(manager.all(), "scopes"):  # people, teams and grants, which have no rows of their own
        active = Exists(get_user_model().objects.filter(pk=actor.pk, is_active=True))
        return {action for action in among if manager.visible_to(actor, action).filter(active, pk=target.pk).exists()}
    keys = reach(target)
    if keys is None:
        return set()
    return decided(*effects(actor, _by_scope(keys)), [EVERYTHING, *keys]).intersection(among)


def reach(target: Any) -> list[Key] | None:
    """Where rows that reach an object may lie, beside those on everything, as the database has it now; None when it is
    gone.

    The object is of a model with scopes: a VM, segment, host, cluster, snapshot or job.
    """
    model: Any = type(target)
    statement, scopes = _reach_statement(model)
    with connection.cursor() as cursor:
        cursor.execute(statement, [model._meta.pk.get_db_prep_value(target.pk, connection)])
        found = cursor.fetchone()
    if found is None:
        return None
    return [(scope, value) for scope, value in zip(scopes, found, strict=True) if value is not None]


def authorise(actor: Actor, action: Action, target: Any = None) -> None:
    """Return if the actor may; else raise NotVisible (nothing there, for this actor) or NotAllowed (seen, but not
    this).
    """
    held = held_on(actor, target, {action, Action.VIEW})
    if action in held:
        return
    if target is not None and Action.VIEW not in held:
        raise NotVisible(user=actor, action=action, target=target)
    raise NotAllowed(user=actor, action=action, target=target)


def actions_on(actor: Actor, objects: Iterable[Any]) -> dict[Any, set[Action]]:
    """Primary key -> the actions the actor holds on that object, for objects of one model, by one SQL statement."""
    items = list(objects)
    if not items:
        return {}
    if isinstance(actor, System):
        return {item.pk: set(Action) for item in items}
    if not actor.is_active or actor.pk is None:
        return {item.pk: set() for item in items}
    scopes: dict[str, tuple[str, ...]] = type(items[0])._default_manager.all().scopes
    readers = [(scope, _reader(path)) for scope, paths in scopes.items() for path in paths]
    keys = {item.pk: [(scope, read(item)) for scope, read in readers] for item in items}
    allowed, denied = effects(actor, _by_scope(key for of_item in keys.values() for key in of_item))
    return {pk: decided(allowed, denied, [EVERYTHING, *of_item]) for pk, of_item in keys.items()}


@cache
def _reach_statement(model: Any) -> tuple[str, list[str]]:
    """Of a model: the SELECT of an object's keys by its primary key, and the scope of each. Kept, because Django takes
    ten times as long to build it as the database to answer it, and it runs with each check.
    """
    manager = model._default_manager
    paths = [(scope, path) for scope, of_scope in manager.all().scopes.items() for path in of_scope]
    example = manager.filter(pk=model._meta.pk.get_default() or 0)
    statement, _values = example.order_by().values_list(*(path for _scope, path in paths)).query.sql_with_params()
    return statement, [scope for scope, _path in paths]


def decided(allowed: Effects, denied: Effects, keys: list[Key]) -> set[Action]:
    """The verdict: allowed by at least one of these, denied by none; without VIEW, nothing."""
    held = {name for key in keys for name in allowed.get(key, ())}
    held -= {name for key in keys for name in denied.get(key, ())}
    return {Action(name) for name in held} if Action.VIEW in held else set()


def _by_scope(keys: Iterable[Key]) -> dict[str, set[int]]:
    wanted: dict[str, set[int]] = defaultdict(set)
    for scope, value in keys:
        if value is not None:
            wanted[scope].add(value)
    return wanted


def _reader(path: str) -> Callable[[Any], Any]:
    """Follow a query path (`vm__segment_id`) on a loaded object; None where it leads nowhere."""

    def read(item: Any) -> Any:
        for name in path.split("__"):
            if item is None:
                return None
            item = getattr(item, name)
        return item

    return read
