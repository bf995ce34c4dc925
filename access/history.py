"""Who held what at a moment of the past: today's state, with what has happened since undone, the newest first.

Pure: the state and the events come from `access.asof`. Backward, because then only what happened after the moment must
be known: what the record no longer holds of the time before does no harm. The verdict is the gate's own
(`gate.decided`), so that the past is judged by the same rules as the present.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from access import gate
from access.actions import Action
from access.effects import EVERYTHING
from access.gate import Key
from access.grant_facts import GrantThen
from audit.events import EventAction
from audit.selectors import Told


@dataclass(slots=True)
class State:
    """Everything that the gate goes by, as far as it touches the objects asked about.

    `active`: user id -> whether the account was open; who is not in it had no account. `members`: (team, user).
    `keys`: what reaches the objects asked about; grants on others are left out.
    """

    active: dict[int, bool]
    members: set[tuple[int, int]]
    grants: dict[int, GrantThen]
    keys: Collection[Key]

    def teams(self) -> Mapping[int, set[int]]:
        """user id -> ids of the teams that they were in."""
        found: dict[int, set[int]] = defaultdict(set)
        for team, user in self.members:
            found[user].add(team)
        return found


def undo(state: State, events: Iterable[Told]) -> int | None:
    """Take back what the events tell, newest first.

    Returns the id of the newest one that does not tell enough to be undone; what was before it is not certain.
    """
    odd = None
    for event in events:
        try:
            _UNDO[EventAction(event.action)](state, event)
        except (KeyError, TypeError, ValueError):
            odd = odd or event.id
    return odd


def place_before(segment: int | None, events: Iterable[Told]) -> tuple[bool, int | None, int | None]:
    """Where a VM was, from where it is and from its own events, newest first.

    Returns whether it was known to Slipway at all, its segment, and the id of an event as `undo` does.
    """
    exists, odd = True, None
    for event in events:
        if event.action == EventAction.VM_DISCOVERED:
            exists, segment = False, None
        elif "segment_id" in (before := event.before):
            segment = before["segment_id"]
        else:
            odd = odd or event.id
    return exists, segment, odd


def held(state: State, user: int, teams: Collection[int], keys: list[Key], at: datetime) -> set[Action]:
    """What a user held on the object that these keys reach, by the gate's rules."""
    if not state.active.get(user, False):
        return set()
    allowed: dict[Key, set[str]] = defaultdict(set)
    denied: dict[Key, set[str]] = defaultdict(set)
    for grant in speaking(state, user, teams, keys):
        if not grant.has_ended(at):
            (denied if grant.denies else allowed)[grant.scope].update(grant.actions)
    return gate.decided(allowed, denied, [EVERYTHING, *keys])


def speaking(state: State, user: int, teams: Collection[int], keys: list[Key]) -> list[GrantThen]:
    """The grants that spoke to a user about an object, ended ones and denials included."""
    return [
        grant
        for grant in state.grants.values()
        if (grant.scope == EVERYTHING or grant.scope in keys)
        and (grant.holder == ("user", user) or (grant.holder[0] == "team" and grant.holder[1] in teams))
    ]


def _grant_created(state: State, event: Told) -> None:
    state.grants.pop(int(event.object_id), None)


def _grant_revoked(state: State, event: Told) -> None:
    before = event.before
    if (before["scope_type"], before["scope_id"]) in state.keys:
        state.grants[int(event.object_id)] = GrantThen.of_document(int(event.object_id), before)


def _role_changed(state: State, event: Told) -> None:
    actions = frozenset(map(str, event.before["actions"]))
    for grant in state.grants.values():
        if grant.role_id == int(event.object_id):
            state.grants[grant.id] = replace(grant, actions=actions)


def _member_added(state: State, event: Told) -> None:
    state.members.discard((int(event.object_id), int(event.after["user_id"])))


def _member_removed(state: State, event: Told) -> None:
    state.members.add((int(event.object_id), int(event.before["user_id"])))


def _user_created(state: State, event: Told) -> None:
    state.active.pop(int(event.object_id), None)


def _user_deactivated(state: State, event: Told) -> None:
    state.active[int(event.object_id)] = bool(event.before["is_active"])


def _cannot(state: State, event: Told) -> None:
    """What went along with it is in no event of its own."""
    raise KeyError(event.action)


#: What changes who may do what, and how each is undone. (A VM's place has events of its own: `place_before`.)
_UNDO: Mapping[EventAction, Callable[[State, Told], None]] = MappingProxyType(
    {
        EventAction.GRANT_CREATED: _grant_created,
        EventAction.GRANT_REVOKED: _grant_revoked,
        EventAction.ROLE_CHANGED: _role_changed,
        EventAction.MEMBERSHIP_ADDED: _member_added,
        EventAction.MEMBERSHIP_REMOVED: _member_removed,
        EventAction.USER_CREATED: _user_created,
        EventAction.USER_DEACTIVATED: _user_deactivated,
        EventAction.TEAM_DELETED: _cannot,
        EventAction.SEGMENT_DELETED: _cannot,
    }
)
MEMBERSHIPS = (EventAction.MEMBERSHIP_ADDED, EventAction.MEMBERSHIP_REMOVED)
#: All but those of memberships, which matter for few teams at a time.
CHANGES = tuple(action for action in _UNDO if action not in MEMBERSHIPS)
#: What changes where a VM is, and whether it is.
PLACES = (EventAction.VM_DISCOVERED, EventAction.VM_SEGMENT_ASSIGNED)
