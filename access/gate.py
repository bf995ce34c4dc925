"""The one gate. Lists, details, form choices, actions, the API and running jobs all ask here, and here only.

`can` is `visible_to` on one row, so a list and a check cannot disagree; `actions_on` is the same rule over many
objects and actions at once, for pages with buttons (a property test holds the two together).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from django.db.models import CharField, IntegerField, QuerySet, Value

from access import rows
from access.actions import Action
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


def can(actor: Actor, action: Action, target: Any = None) -> bool:
    """Whether the actor may do `action` to `target`; to everything there is, when `target` is None."""
    if isinstance(actor, System):
        return True
    if not actor.is_active or actor.pk is None:
        return False
    if target is None:
        held = list(rows.everything_held_by(actor).values_list("action", "effect"))
        return all(
            (needed.value, "allow") in held and (needed.value, "deny") not in held for needed in (Action.VIEW, action)
        )
    queryset: Any = type(target)._default_manager
    return bool(queryset.visible_to(actor, action).filter(pk=target.pk).exists())


def authorise(actor: Actor, action: Action, target: Any = None) -> None:
    """Return if the actor may; else raise NotVisible (nothing there, for this actor) or NotAllowed (seen, but not
    this).
    """
    if can(actor, action, target):
        return
    if target is not None and not can(actor, Action.VIEW, target):
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
    wanted: dict[str, set[Any]] = defaultdict(set)
    for item in items:
        for scope, read in readers:
            wanted[scope].add(read(item))
    allowed, denied = _effects(actor, wanted)
    result: dict[Any, set[Action]] = {}
    for item in items:
        keys = [("everything", 0), *((scope, read(item)) for scope, read in readers)]
        held = set().union(*(allowed[key] for key in keys)) - set().union(*(denied[key] for key in keys))
        result[item.pk] = {Action(name) for name in held} if Action.VIEW in held else set()
    return result


def _reader(path: str) -> Callable[[Any], Any]:
    """Follow a query path (`vm__segment_id`) on a loaded object; None where it leads nowhere."""

    def read(item: Any) -> Any:
        for name in path.split("__"):
            if item is None:
                return None
            item = getattr(item, name)
        return item

    return read


def _effects(user: User, wanted: dict[str, set[Any]]) -> tuple[dict[Any, set[str]], dict[Any, set[str]]]:
    """(scope, id) -> actions allowed, and denied."""
    parts: list[QuerySet[Any, Any]] = []
    for scope, ids in wanted.items():
        for table in rows.held_by(user, scope):
            parts.append(
                table.filter(content_object_id__in=ids - {None})
                .annotate(scope=Value(scope, output_field=CharField()))
                .values_list("scope", "content_object_id", "permission__codename", "effect")
            )
    everything = (
        rows.everything_held_by(user)
        .annotate(scope=Value("everything", output_field=CharField()), target=Value(0, output_field=IntegerField()))
        .values_list("scope", "target", "action", "effect")
    )
    allowed: dict[Any, set[str]] = defaultdict(set)
    denied: dict[Any, set[str]] = defaultdict(set)
    for scope, target, action, effect in everything.union(*parts, all=True):
        (allowed if effect == "allow" else denied)[scope, target].add(action)
    return allowed, denied
