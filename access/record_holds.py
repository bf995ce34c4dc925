"""Who may place and lift legal holds: who reads the record and takes exports of it, both on everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest
from access.gate import Actor, System
from audit import holds
from audit.holds import Cover, Hold

if TYPE_CHECKING:
    from access.models import User

ACTIONS = (Action.READ_AUDIT, Action.EXPORT)


def may_hold(actor: Actor) -> bool:
    """Whether the actor may place and lift holds."""
    return gate.held_on(actor, None, ACTIONS) == set(ACTIONS)


def authorise(actor: Actor) -> None:
    """Return if the actor may; else raise NotAllowed, which names the right that is missing."""
    for action in ACTIONS:
        gate.authorise(actor, action)


def hold_place(*, actor: Actor, name: str, reason: str, cover: Cover) -> Hold:
    """Place a hold. Raises NotAllowed, and InvalidAccessRequest without a name, a reason, or sense in the times."""
    authorise(actor)
    if not name.strip():
        raise InvalidAccessRequest("A hold needs a name.", field="name")
    _reasoned(reason)
    if cover.since and cover.until and cover.since >= cover.until:
        raise InvalidAccessRequest("The time ends before it begins.", field="until")
    return holds.hold_place(name=name.strip(), reason=reason, cover=cover, actor=_person(actor))


def hold_lift(*, actor: Actor, hold_id: int, reason: str) -> Hold:
    """Lift a hold. Raises NotAllowed, InvalidAccessRequest without a reason, and NoSuchHold."""
    authorise(actor)
    _reasoned(reason)
    return holds.hold_lift(hold_id, reason=reason, actor=_person(actor))


def _person(actor: Actor) -> User | None:
    """Who is named as the one who did it; at the command line, whoever the context names."""
    return None if isinstance(actor, System) else actor


def _reasoned(reason: str) -> None:
    if not reason.strip():
        raise InvalidAccessRequest("Say why.", field="reason")
