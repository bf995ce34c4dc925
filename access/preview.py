"""What a change of access would do, before it is made: the change is carried out, looked at, and taken back.

So the preview asks the same gate and the same services as the change itself, and cannot disagree with them. The
transaction is always rolled back: nothing of it, its events included, is ever committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import transaction
from django.db.models import Q

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest
from access.gate import Actor, System
from access.models import Grant, Team, User

#: What a preview looks at, in the order in which it is shown.
_KINDS = ("Segment", "VM", "Host", "Cluster")
#: Objects times people, beyond which a preview would hold up everybody else's work.
MOST_ANSWERS = 20_000
#: Objects asked about at once; a statement names each of them.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """What one person gains and loses on one object."""

    user: User
    target: Any
    gained: tuple[Action, ...]
    lost: tuple[Action, ...]

    @property
    def kind(self) -> str:
        """The object's noun: segment, VM, host, cluster."""
        return str(self.target._meta.verbose_name)


def differences(
    actor: Actor, change: Callable[[], object], *, users: Sequence[User], grants: Iterable[Grant]
) -> list[Difference]:
    """What `change` would alter for these users on what these grants reach, as far as the actor sees those objects.

    Raises what the change itself raises, refusals before all.
    """
    objects = _objects(actor, list(grants))
    if len(objects) * len(users) > MOST_ANSWERS:
        raise InvalidAccessRequest(f"Too much to show: {len(objects)} objects for {len(users)} people.")
    with transaction.atomic():
        change()
        after = [_held(user, objects) for user in users]
        transaction.set_rollback(True)
    before = [_held(user, objects) for user in users]  # as it was, and is again
    found = []
    for user, had, has in zip(users, before, after, strict=True):
        for target, held in has.items():
            gained, lost = held - had.get(target, set()), had.get(target, set()) - held
            if gained or lost:
                found.append(Difference(user, target, _in_order(gained), _in_order(lost)))
    return found


def _objects(actor: Actor, grants: list[Grant]) -> list[Any]:
    """What the grants reach and the actor sees: the object itself, a segment's VMs, a cluster's hosts."""
    found: list[Any] = []
    for kind in _KINDS:
        rows: Any = apps.get_model("inventory", kind).objects.all()
        seen = rows if isinstance(actor, System) else rows.visible_to(actor)
        if not any(grant.everything for grant in grants):
            seen = seen.filter(_within(kind.lower(), grants))
        found += seen.order_by("name")
    return found


def _within(kind: str, grants: list[Grant]) -> Q:
    reached = Q(pk__in=[key for grant in grants if (key := getattr(grant, f"{kind}_id")) is not None])
    if kind == "vm":
        reached |= Q(segment__in=[grant.segment_id for grant in grants if grant.segment_id is not None])
    if kind == "host":
        reached |= Q(cluster__in=[grant.cluster_id for grant in grants if grant.cluster_id is not None])
    return reached


def _held(user: User, objects: list[Any]) -> dict[Any, set[Action]]:
    held: dict[Any, set[Action]] = {}
    for model in dict.fromkeys(type(item) for item in objects):
        of_model = [item for item in objects if type(item) is model]
        for start in range(0, len(of_model), _BATCH):
            batch = of_model[start : start + _BATCH]
            actions = gate.actions_on(user, batch)
            held |= {item: actions[item.pk] for item in batch}
    return held


def _in_order(actions: set[Action]) -> tuple[Action, ...]:
    return tuple(action for action in Action if action in actions)


def of_membership(actor: Actor, team: Team, user: User, change: Callable[[], object]) -> list[Difference]:
    """What joining or leaving a team would alter for one person."""
    return differences(actor, change, users=[user], grants=team.grants.all())


def of_grant(actor: Actor, grant: Grant, change: Callable[[], object]) -> list[Difference]:
    """What taking a grant away (or adding one like this) would alter for those who hold it."""
    return differences(actor, change, users=holders(grant), grants=[grant])


def holders(grant: Grant) -> list[User]:
    """The people whom a grant is for: one, or the team's members."""
    if grant.user is not None:
        return [grant.user]
    return list(User.objects.filter(memberships__team=grant.team_id).order_by("username"))
