"""Why somebody may do something, or may not: the chain of grants behind the gate's answer. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import Actor
from access.models import EverythingPermission, Grant, User
from access.models.grants import Effect
from access.rows import row_models, team_ids

_RELATED = ("team", "user", "role", "author", "segment", "vm", "host", "cluster")


@dataclass(frozen=True, slots=True)
class Link:
    """One grant that speaks about the question. `action` is the one asked about, or VIEW, without which no other
    counts, where it is that which is missing.
    """

    action: Action
    grant: Grant
    has_ended: bool

    @property
    def denies(self) -> bool:
        """Whether it takes away rather than gives."""
        return self.grant.effect == Effect.DENY

    @property
    def counts(self) -> bool:
        """Whether the gate goes by it now."""
        return not self.has_ended


@dataclass(frozen=True, slots=True)
class Explanation:
    """The gate's answer, in a sentence, with every grant that has a say in it: denials first, ended ones last."""

    user: User
    action: Action
    target: Any
    allowed: bool
    sentence: str
    links: list[Link]


def explain(user: User, action: Action, target: Any = None) -> Explanation:
    """Why `user` may do `action` on `target` (a VM, segment, host or cluster; None: everything), or why not."""
    links = _links(user, action, target)
    if action != Action.VIEW:
        seeing = _links(user, Action.VIEW, target)
        sees = gate.can(user, Action.VIEW, target)
        links += [link for link in seeing if link.denies or not sees]
    links.sort(key=lambda link: (link.has_ended, not link.denies, link.action != action, link.grant.pk))
    allowed = gate.can(user, action, target)
    return Explanation(user, action, target, allowed, _sentence(user, action, target, allowed, links), links)


def explain_for(actor: Actor, user: User, action: Action, target: Any = None) -> Explanation:
    """`explain` for somebody who may ask: about oneself on what one sees, else with GRANT there, or as an auditor.

    Raises NotVisible, NotAllowed.
    """
    if gate.can(actor, Action.READ_AUDIT):
        return explain(user, action, target)
    gate.authorise(actor, Action.VIEW if actor == user else Action.GRANT, target)
    return explain(user, action, target) if actor == user else _as_seen_by(actor, explain(user, action, target))


def _as_seen_by(actor: Actor, found: Explanation) -> Explanation:
    """Without the grants that the one who asks does not see: on a segment of which they know one VM, say."""
    seen = set(Grant.objects.visible_to(actor).values_list("pk", flat=True))
    links = [link for link in found.links if link.grant.pk in seen]
    if len(links) == len(found.links):
        return found
    holds = "holds" if found.allowed else "does not hold"
    where = "everything" if found.target is None else found.target
    sentence = f"{found.user} {holds} “{found.action.label}” on {where}, by a grant that you do not see."
    return replace(found, links=links, sentence=sentence)


def held_until(user: User, action: Action, target: Any = None) -> datetime | None:
    """When the last grant ends that gives somebody an action; None when one has no end."""
    links = [link for link in _links(user, action, target) if link.counts and not link.denies]
    ends = [link.grant.expires_at for link in links]
    return max((end for end in ends if end is not None), default=None) if None not in ends else None


def who_may(target: Any) -> list[tuple[User, set[Action]]]:
    """Everybody to whom some grant speaks about an object, with what they hold there now, by name; nothing, for who is
    denied or whose grant has ended. Two statements for each person.
    """
    people = Q(pk__in=EverythingPermission.objects.values("user"))
    people |= Q(memberships__team__in=EverythingPermission.objects.values("group"))
    for scope, key in gate.reach(target) or []:
        of_user, of_team = row_models(scope)
        people |= Q(pk__in=of_user.objects.filter(content_object=key).values("user"))
        people |= Q(memberships__team__in=of_team.objects.filter(content_object=key).values("group"))
    users = User.objects.filter(people, is_active=True).distinct().order_by("username")
    return [(user, gate.held_on(user, target)) for user in users]


def _links(user: User, action: Action, target: Any) -> list[Link]:
    """Grants with a permission row for this user and action on what reaches the target, ended ones included."""
    grants: dict[int, Link] = {}
    now = timezone.now()
    for rows in _rows(user, action, target):
        for row in rows.select_related(*(f"grant__{name}" for name in _RELATED)):
            ended = row.expires_at is not None and row.expires_at <= now
            grants[row.grant_id] = Link(action, row.grant, ended)
    return list(grants.values())


def _rows(user: User, action: Action, target: Any) -> list[Any]:
    teams = team_ids(user)
    everything = EverythingPermission.objects.filter(action=action.value)
    found = [everything.filter(user=user.pk), everything.filter(group__in=teams)]
    for scope, key in (gate.reach(target) or []) if target is not None else []:
        of_user, of_team = row_models(scope)
        on_target = {"content_object": key, "permission__codename": action.value}
        found.append(of_user.objects.filter(user=user.pk, **on_target))
        found.append(of_team.objects.filter(group__in=teams, **on_target))
    return found


def _sentence(user: User, action: Action, target: Any, allowed: bool, links: list[Link]) -> str:
    right = f"“{action.label}” on {'everything' if target is None else target}"
    if allowed:
        link = next(link for link in links if link.counts and link.action == action and not link.denies)
        return f"{user} holds {right}: {in_words(link.grant)}."
    lacks = f"{user} does not hold {right}"
    if not user.is_active:
        return f"{lacks}: the account is deactivated, and holds nothing."
    denial = next((link for link in links if link.counts and link.denies), None)
    if denial is not None:
        return f"{lacks}: denied by {in_words(denial.grant)}. A denial is stronger than what allows."
    if any(link.counts and link.action == action for link in links):
        return f"{lacks}: no grant lets {user} see it, and what is not seen cannot be worked on."
    ended = next((link for link in links if link.has_ended), None)
    if ended is not None:
        return f"{lacks} any more: {in_words(ended.grant)} has ended."
    return f"{lacks}: no grant gives it."


def in_words(grant: Grant) -> str:
    """A grant as part of a sentence."""
    through = f" through the team {grant.team}" if grant.team_id else ""
    author = f", given by {grant.author}" if grant.author else ""
    return f"{grant.role} on {grant.scope_label}{through}{author} ({grant.reason})"
