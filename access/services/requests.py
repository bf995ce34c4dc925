"""Access for a while: asked for with a reason, decided by somebody else, ended by the clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest, NotAllowed
from access.gate import Actor, System
from access.models import AccessRequest, Role, User
from access.models.grants import SCOPES
from access.services.grants import grant_write, refuse_more_than_held
from audit.events import EventAction, Outcome
from audit.record import record

#: The longest time for which access can be asked, in hours: longer needs is a grant's business.
LONGEST_HOURS = 72
#: How long a request waits for somebody to decide.
WAITS_FOR = timedelta(hours=24)


@transaction.atomic
def access_request(*, actor: User, role: Role, target: Any, hours: int, reason: str) -> AccessRequest:
    """Ask for a role on something that one sees. Raises NotVisible, InvalidAccessRequest."""
    scope = "" if target is None else target._meta.model_name
    if scope not in SCOPES:
        raise InvalidAccessRequest("Ask for a role on one segment, VM, host or cluster.")
    gate.authorise(actor, Action.VIEW, target)
    if not 1 <= hours <= LONGEST_HOURS:
        raise InvalidAccessRequest(f"Ask for 1 to {LONGEST_HOURS} hours.", field="hours")
    if not reason.strip():
        raise InvalidAccessRequest("Say what it is for.", field="reason")
    if Action.GRANT in role.actions:
        raise InvalidAccessRequest("A role that gives access to others is not given for a while.", field="role")
    if {Action(name) for name in role.actions} <= gate.held_on(actor, target):
        raise InvalidAccessRequest(f"You hold all of {role} on {target} already.", field="role")
    request = AccessRequest.objects.create(
        user=actor, role=role, hours=hours, reason=reason.strip(), expires_at=timezone.now() + WAITS_FOR,
        **{scope: target},
    )  # fmt: skip
    facts = {"role": role.slug, "scope": request.scope_label, "hours": hours}
    record(EventAction.ACCESS_REQUEST_MADE, target=request, actor=actor, reason=request.reason, after=facts)
    return request


@transaction.atomic
def access_request_grant(*, actor: Actor, request: AccessRequest, note: str = "") -> AccessRequest:
    """Give what is asked for, from now on for the hours asked.

    Needs APPROVE on the target and every action of the role there, and is for somebody else than who asks. Raises
    NotVisible, NotAllowed, InvalidAccessRequest.
    """
    request = _open(actor, request)
    if not gate.can(request.user, Action.VIEW, request.target):
        raise InvalidAccessRequest(f"{request.user} does not see {request.target} any more; give a grant instead.")
    refuse_more_than_held(actor, request.role, request.target)
    if Action.GRANT in request.role.actions:
        raise InvalidAccessRequest("A role that gives access to others is not given for a while.", field="role")
    ends = timezone.now() + timedelta(hours=request.hours)
    request.grant = grant_write(
        author=actor,
        holder=request.user,
        role=request.role,
        target=request.target,
        reason=f"asked for: {request.reason}"[:500],
        expires_at=ends,
    )
    _decide(request, actor, AccessRequest.Verdict.GRANTED, note)
    after = {"grant": request.grant.pk, "expires_at": ends.isoformat()}
    record(EventAction.ACCESS_REQUEST_GRANTED, target=request, actor=actor, reason=note, after=after)
    return request


@transaction.atomic
def access_request_refuse(*, actor: Actor, request: AccessRequest, note: str) -> AccessRequest:
    """Turn it down, saying why. Needs APPROVE on the target. Raises as `access_request_grant`."""
    if not note.strip():
        raise InvalidAccessRequest("Say why it is turned down.", field="note")
    request = _open(actor, request)
    _decide(request, actor, AccessRequest.Verdict.REFUSED, note)
    record(EventAction.ACCESS_REQUEST_REFUSED, target=request, actor=actor, outcome=Outcome.REFUSED, reason=note)
    return request


@transaction.atomic
def access_request_withdraw(*, actor: User, request: AccessRequest) -> AccessRequest:
    """Take one's own request back. Raises NotAllowed, InvalidAccessRequest."""
    request = AccessRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
    if request.user_id != actor.pk:
        raise NotAllowed(user=actor, action=Action.APPROVE, target=request)
    _refuse_decided(request)
    _decide(request, actor, AccessRequest.Verdict.WITHDRAWN, "")
    record(EventAction.ACCESS_REQUEST_WITHDRAWN, target=request, actor=actor)
    return request


def _open(actor: Actor, request: AccessRequest) -> AccessRequest:
    """The request, locked, for somebody who may decide. Raises NotVisible, NotAllowed, InvalidAccessRequest."""
    request = AccessRequest.objects.select_for_update(of=("self",)).get(pk=request.pk)
    gate.authorise(actor, Action.APPROVE, request.target)
    if isinstance(actor, System) or request.user_id == actor.pk:
        raise InvalidAccessRequest("Whoever asks does not decide: somebody else has to.")
    _refuse_decided(request)
    if not request.user.is_active:
        raise InvalidAccessRequest(f"The account of {request.user} is closed.")
    return request


def _refuse_decided(request: AccessRequest) -> None:
    if request.verdict != AccessRequest.Verdict.WAITING:
        raise InvalidAccessRequest("It has been decided already.")
    if request.expires_at <= timezone.now():
        raise InvalidAccessRequest("Nobody decided in time; it has to be asked for again.")


def _decide(request: AccessRequest, actor: Actor, verdict: AccessRequest.Verdict, note: str) -> None:
    request.verdict, request.decided_at, request.note = verdict, timezone.now(), note
    request.decided_by = None if isinstance(actor, System) else actor
    request.save()
