"""Who might do what at a moment, now or past: today's rows, and what the record tells of since, reckoned back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from django.utils import timezone

from access import gate
from access.actions import Action
from access.effects import EVERYTHING
from access.errors import InvalidAccessRequest
from access.gate import Key
from access.grant_facts import GrantThen
from access.history import CHANGES, MEMBERSHIPS, PLACES, State, held, place_before, speaking, undo
from access.models import EverythingPermission, Grant, Membership, User
from access.rows import row_models
from audit import selectors
from audit.events import EventAction
from audit.selectors import Told

T = TypeVar("T")
_RELATED = ("team", "user", "role", "author", "segment", "vm", "host", "cluster")
_BORN = {
    "segment": EventAction.SEGMENT_CREATED,
    "host": EventAction.HOST_CREATED,
    "cluster": EventAction.CLUSTER_CREATED,
}
#: What may not happen between the reading of the events and that of the rows.
_WATCHED = (*CHANGES, *MEMBERSHIPS, EventAction.VM_SEGMENT_ASSIGNED)


@dataclass(frozen=True, slots=True)
class Place:
    """How an object could be reached then: the keys of rows that reach it; None when there was no such object."""

    keys: list[Key] | None
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class LinkThen:
    """One grant that spoke about a question. `action` is the one asked about, or VIEW where that is what decides."""

    action: Action
    grant: GrantThen
    has_ended: bool


@dataclass(frozen=True, slots=True)
class AnswerThen:
    """What was so, in a sentence, with every grant that had a say in it: denials first, ended ones last."""

    allowed: bool
    sentence: str
    links: list[LinkThen]


class View:
    """Some objects at one moment, and who might do what to them."""

    def __init__(self, at: datetime, state: State, places: Mapping[Any, Place], known_since: datetime | None) -> None:
        """`known_since`: what was before that is not certain; None where all is."""
        self.at = at
        self.known_since = known_since
        self._state = state
        self._places = places

    @cached_property
    def _teams(self) -> Mapping[int, set[int]]:
        return self._state.teams()

    def place(self, target: Any) -> Place:
        """Where an object was; an object for everything, None, has no keys of its own."""
        return Place([]) if target is None else self._places[target]

    def held(self, user: int, target: Any) -> set[Action]:
        """What a user held on an object."""
        keys = self.place(target).keys
        return set() if keys is None else held(self._state, user, self._teams.get(user, ()), keys, self.at)

    def people(self, target: Any) -> set[int]:
        """Ids of those to whom a grant spoke about an object, by themselves or through a team."""
        keys = self.place(target).keys
        if keys is None:
            return set()
        holders = {
            grant.holder for grant in self._state.grants.values() if grant.scope == EVERYTHING or grant.scope in keys
        }
        through = {user for team, user in self._state.members if ("team", team) in holders}
        return (through | {number for kind, number in holders if kind == "user"}) & set(self._state.active)

    def why(self, user: User, action: Action, target: Any) -> AnswerThen:
        """Why somebody might do something then, or might not."""
        allowed = action in self.held(user.pk, target)
        links = self._links(user, action, target)
        if action != Action.VIEW:
            sees = Action.VIEW in self.held(user.pk, target)
            links += [link for link in self._links(user, Action.VIEW, target) if link.grant.denies or not sees]
        links.sort(key=lambda link: (link.has_ended, not link.grant.denies, link.action != action, link.grant.id))
        return AnswerThen(allowed, self._sentence(user, action, target, allowed, links), links)

    def _links(self, user: User, action: Action, target: Any) -> list[LinkThen]:
        keys = self.place(target).keys
        grants = [] if keys is None else speaking(self._state, user.pk, self._teams.get(user.pk, ()), keys)
        return [LinkThen(action, grant, grant.has_ended(self.at)) for grant in grants if action in grant.actions]

    def _sentence(self, user: User, action: Action, target: Any, allowed: bool, links: list[LinkThen]) -> str:
        right = f"“{action.label}” on {'everything' if target is None else target}"
        live = [link for link in links if not link.has_ended]
        if allowed:
            grant = next(link.grant for link in live if link.action == action and not link.grant.denies)
            return f"{user} held {right}: {grant}."
        lacked = f"{user} did not hold {right}"
        if self.place(target).keys is None:
            return f"{lacked}: there was no such object yet."
        if user.pk not in self._state.active:
            return f"{lacked}: there was no such account yet."
        if not self._state.active[user.pk]:
            return f"{lacked}: the account was deactivated, and held nothing."
        denial = next((link.grant for link in live if link.grant.denies), None)
        if denial is not None:
            return f"{lacked}: denied by {denial}. A denial is stronger than what allows."
        if any(link.action == action for link in live):
            return f"{lacked}: no grant let {user} see it, and what is not seen cannot be worked on."
        if links:
            return f"{lacked} any more: {links[0].grant} had ended."
        return f"{lacked}: no grant gave it."


class Moment:
    """A moment for which questions are asked. What happened since is read once, however many objects are looked at."""

    def __init__(self, at: datetime | None = None) -> None:
        """`at` is None for now. Raises InvalidAccessRequest for the future, and for what is before the record."""
        now = timezone.now()
        self.at = at or now
        if self.at > now:
            raise InvalidAccessRequest("That moment has not been yet.", field="at")
        begin = selectors.begins_at()
        if at is not None and (begin is None or at < begin):
            since = "is empty" if begin is None else f"begins at {begin:%Y-%m-%d %H:%M:%S} UTC"
            raise InvalidAccessRequest(f"The record {since}. Who might do what before that can't be known.", field="at")
        #: The newest event that `doubt` was told of; 0 for none.
        self._odd = 0
        self._first: int | None = None
        self._changes: list[Told] = []
        self._read_at_count = 0

    def of(self, targets: Sequence[Any]) -> View:
        """What was so of these objects (VMs, segments, hosts, clusters), and of everything.

        Events and rows are read as one: a change commits together with its event, so that when no event came meanwhile,
        no row changed either.
        """
        return self._undisturbed(lambda: self._read(targets))

    def members(self, team: int) -> set[int]:
        """Ids of a team's members."""
        return {user for _team, user in self._undisturbed(lambda: self._members({"team": team}))}

    def teams_of(self, users: Collection[int]) -> set[int]:
        """Ids of the teams that these users were in."""
        return {team for team, user in self._undisturbed(lambda: self._members({})) if user in users}

    def _undisturbed(self, read: Callable[[], T]) -> T:
        while True:
            count = self._count()
            if self._first is not None and count != self._read_at_count:
                self._changes = selectors.changes_after(self.at, self._first, CHANGES)
                self._read_at_count = count
            found = read()
            if self._count() == count:
                return found

    def _count(self) -> int:
        if self._first is None:
            self._first = selectors.first_after(self.at)
        return 0 if self._first is None else selectors.count_from(self._first, _WATCHED)

    def doubt(self, event: int) -> None:
        """Note an event that should have narrowed what is asked about, and does not tell enough for it."""
        self._odd = max(self._odd, event)

    def changes(self, *kinds: EventAction) -> list[Told]:
        """What the record tells of these kinds of change since, newest first."""
        first = self._first or selectors.first_after(self.at)
        return [] if first is None else selectors.changes_after(self.at, first, kinds)

    def _changes_of(self, kinds: Collection[EventAction], noun: str, ids: Collection[int]) -> list[Told]:
        return [] if self._first is None else selectors.changes_of(self.at, self._first, kinds, noun, ids)

    def _read(self, targets: Sequence[Any]) -> View:
        places, odd_place = self._places(targets)
        keys = {EVERYTHING, *(key for place in places.values() for key in place.keys or ())}
        state = State(
            active=dict(User.objects.order_by().values_list("pk", "is_active")),
            members=set(),
            grants=_grants(keys),
            keys=keys,
        )
        odd = [self._odd, odd_place, undo(state, self._changes)]
        teams = [number for kind, number in (grant.holder for grant in state.grants.values()) if kind == "team"]
        state.members = set(Membership.objects.filter(team__in=teams).order_by().values_list("team_id", "user_id"))
        odd.append(undo(state, self._changes_of(MEMBERSHIPS, "team", set(teams))))
        latest = max(filter(None, odd), default=None)
        return View(self.at, state, places, selectors.time_of(latest) if latest else None)

    def _members(self, narrowed: Mapping[str, int]) -> set[tuple[int, int]]:
        """(team, user) of every membership, or of those of one team."""
        today = Membership.objects.filter(**narrowed).order_by().values_list("team_id", "user_id")
        state = State(active={}, members=set(today), grants={}, keys=())
        if narrowed:
            odd = undo(state, self._changes_of(MEMBERSHIPS, "team", [narrowed["team"]]))
        else:
            odd = undo(state, self.changes(*MEMBERSHIPS))
        self.doubt(odd or 0)
        return state.members

    def _places(self, targets: Sequence[Any]) -> tuple[dict[Any, Place], int | None]:
        by_kind: dict[str, list[Any]] = defaultdict(list)
        for target in targets:
            by_kind[target._meta.model_name].append(target)
        places: dict[Any, Place] = {}
        odd: int | None = None
        for kind, objects in by_kind.items():
            if kind == "vm":
                found, odd = _places_of_vms(objects, self._changes_of(PLACES, "vm", [vm.pk for vm in objects]))
                places |= found
                continue
            born = self._changes_of([_BORN[kind]], kind, [item.pk for item in objects])
            unborn = {int(event.object_id) for event in born}
            for target in objects:
                places[target] = Place(None if target.pk in unborn else gate.reach(target))
        return places, odd


def _places_of_vms(vms: Sequence[Any], events: list[Told]) -> tuple[dict[Any, Place], int | None]:
    of_vm: dict[int, list[Told]] = defaultdict(list)
    for event in events:
        of_vm[int(event.object_id)].append(event)
    segments = dict(type(vms[0]).objects.filter(pk__in=[vm.pk for vm in vms]).values_list("pk", "segment_id"))
    places, latest = {}, None
    for vm in vms:
        exists, segment, odd = place_before(segments.get(vm.pk), of_vm[vm.pk])
        in_segment = [("segment", segment)] if segment is not None else []
        places[vm] = Place([("vm", vm.pk), *in_segment] if exists and vm.pk in segments else None, segment)
        latest = max(filter(None, (latest, odd)), default=None)
    return places, latest


def _grants(keys: set[Key]) -> dict[int, GrantThen]:
    """Today's grants that reach these keys, each as its permission rows have it: those are what the gate reads."""
    rows = list(EverythingPermission.objects.values_list("grant_id", "action", "effect", "expires_at"))
    by_scope: dict[str, list[int]] = defaultdict(list)
    for scope, number in keys - {EVERYTHING}:
        by_scope[scope].append(number)
    for scope, numbers in by_scope.items():
        for model in row_models(scope):
            on_these = model.objects.filter(content_object__in=numbers)
            rows += on_these.values_list("grant_id", "permission__codename", "effect", "expires_at")
    actions: dict[int, set[str]] = defaultdict(set)
    for number, action, _effect, _ends in rows:
        actions[number].add(action)
    said = {number: (effect, ends) for number, _action, effect, ends in rows}
    grants = Grant.objects.filter(pk__in=list(actions)).select_related(*_RELATED).order_by()
    return {
        grant.pk: replace(
            GrantThen.of_grant(grant, actions[grant.pk]), effect=said[grant.pk][0], expires_at=said[grant.pk][1]
        )
        for grant in grants
    }
