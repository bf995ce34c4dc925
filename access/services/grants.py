"""Giving and taking access. The only writer of permission rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.utils import timezone

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest, NotAllowed, NotVisible
from access.explain import held_until
from access.gate import Actor, System
from access.grant_facts import GrantThen
from access.models import Effect, EverythingPermission, Grant, Role, Team, User
from access.models.grants import SCOPES
from access.rows import row_models
from audit.events import EventAction
from audit.record import record


@transaction.atomic
def grant_create(
    *,
    actor: Actor,
    holder: Team | User,
    role: Role,
    reason: str,
    everything: bool = False,
    target: Any = None,
    effect: Effect = Effect.ALLOW,
    expires_at: datetime | None = None,
) -> Grant:
    """Give `role` to a team or a user on one object, or on everything.

    The actor needs GRANT on the scope and may give only what they hold there themselves. Raises NotAllowed, NotVisible,
    InvalidAccessRequest.
    """
    _refuse_scope(target, everything)
    if not reason.strip():
        raise InvalidAccessRequest("A grant has a reason.", field="reason")
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidAccessRequest("The end of a grant lies in the future.", field="expires_at")
    gate.authorise(actor, Action.GRANT, target)
    if effect == Effect.ALLOW:
        refuse_more_than_held(actor, role, target)
        _refuse_longer_than_held(actor, role, target, expires_at)
    return grant_write(
        author=actor,
        holder=holder,
        role=role,
        target=target,
        reason=reason.strip(),
        everything=everything,
        effect=effect,
        expires_at=expires_at,
    )


def grant_write(
    *,
    author: Actor,
    holder: Team | User,
    role: Role,
    target: Any,
    reason: str,
    everything: bool = False,
    effect: Effect = Effect.ALLOW,
    expires_at: datetime | None = None,
) -> Grant:
    """Write a grant, its rows and its event, for a service that has found out whether it may be given."""
    grant = Grant(
        role=role,
        effect=effect,
        everything=everything,
        expires_at=expires_at,
        reason=reason,
        author=None if isinstance(author, System) else author,
    )
    if isinstance(holder, Team):
        grant.team = holder
    else:
        grant.user = holder
    if target is not None:
        setattr(grant, target._meta.model_name, target)
    grant.save()
    write_rows(grant)
    record(EventAction.GRANT_CREATED, target=grant, actor=author, reason=grant.reason, after=_facts(grant))
    return grant


@transaction.atomic
def grant_revoke(*, actor: Actor, grant: Grant, reason: str = "") -> None:
    """Take a grant away, rows and all. Needs GRANT on its scope. Raises NotVisible, also for one that is gone."""
    # Read anew: what is recorded is what it gave until now, not what it gave when somebody loaded it.
    found = Grant.objects.select_for_update(of=("self",)).select_related("role").filter(pk=grant.pk).first()
    if found is None:
        raise NotVisible(user=actor, action=Action.GRANT, target=grant)
    grant = found
    gate.authorise(actor, Action.GRANT, grant.target)
    record(EventAction.GRANT_REVOKED, target=grant, actor=actor, reason=reason, before=_facts(grant))
    grant.delete()


def grants_end(*, actor: Actor, target: Any) -> None:
    """Take away every grant on an object that is about to go, in the transaction that removes it. Whoever may remove
    the object may do that.
    """
    for grant in Grant.objects.filter(**{target._meta.model_name: target}).select_related("role"):
        record(
            EventAction.GRANT_REVOKED, target=grant, actor=actor, reason=f"{target} was removed.", before=_facts(grant)
        )
        grant.delete()


def write_rows(grant: Grant) -> None:
    """Write the grant's permission rows anew, one per action of its role."""
    actions = [Action(name) for name in grant.role.actions]
    common = {"grant": grant, "effect": grant.effect, "expires_at": grant.expires_at}
    if grant.everything:
        EverythingPermission.objects.filter(grant=grant).delete()
        EverythingPermission.objects.bulk_create(
            EverythingPermission(user=grant.user, group=grant.team, action=action, **common) for action in actions
        )
        return
    scope = next(name for name in SCOPES if getattr(grant, f"{name}_id") is not None)
    user_rows, team_rows = row_models(scope)
    holder: dict[str, Any] = {"user": grant.user} if grant.user else {"group": grant.team}
    model = user_rows if grant.user else team_rows
    content_type = ContentType.objects.get_for_model(type(grant.target))
    permissions = Permission.objects.filter(content_type=content_type, codename__in=[a.value for a in actions])
    model.objects.filter(grant=grant).delete()
    model.objects.bulk_create(
        model(permission=permission, content_object=grant.target, **holder, **common) for permission in permissions
    )


def _refuse_scope(target: Any, everything: bool) -> None:
    if everything and target is not None:
        raise InvalidAccessRequest("A grant is on everything or on one object, not both.", field="everything")
    if not everything and (target is None or target._meta.model_name not in SCOPES):
        raise InvalidAccessRequest("A grant names one segment, VM, host or cluster, or everything.", field="everything")


def refuse_more_than_held(actor: Actor, role: Role, target: Any) -> None:
    """Raise NotAllowed for the first action of the role that the actor does not hold there."""
    for name in role.actions:
        if not gate.can(actor, Action(name), target):
            raise NotAllowed(user=actor, action=Action(name), target=target)


def _refuse_longer_than_held(actor: Actor, role: Role, target: Any, expires_at: datetime | None) -> None:
    """What somebody holds for a while, they give for no longer; else an hour's access would make itself permanent."""
    if isinstance(actor, System):
        return
    needed = {Action.GRANT, *(Action(name) for name in role.actions)}
    ends = [end for action in needed if (end := held_until(actor, action, target)) is not None]
    if ends and (expires_at is None or expires_at > min(ends)):
        until = f"{min(ends):%Y-%m-%d %H:%M} UTC"
        raise InvalidAccessRequest(f"You hold that yourself until {until}; give it no longer.", field="expires_at")


def _facts(grant: Grant) -> dict[str, object]:
    return GrantThen.of_grant(grant, grant.role.actions).document()
