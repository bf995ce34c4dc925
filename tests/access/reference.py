"""The rules of access, written slowly and plainly, to hold the gate against. Shares no code with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from access.models import Grant, Membership


def may(user: Any, action: str, obj: Any, kind: str, now: datetime) -> bool:
    """Whether `user` may do `action` on `obj`: allowed somewhere, denied nowhere, for the action and for viewing."""
    if not user.is_active:
        return False
    return all(_allowed(user, needed, obj, kind, now) for needed in {"view", action})


def _allowed(user: Any, action: str, obj: Any, kind: str, now: datetime) -> bool:
    effects = {
        grant.effect
        for grant in Grant.objects.all()
        if _is_for(grant, user) and action in grant.role.actions and _covers(grant, obj, kind)
        if grant.expires_at is None or grant.expires_at > now
    }
    return "allow" in effects and "deny" not in effects


def _is_for(grant: Grant, user: Any) -> bool:
    if grant.user_id is not None:
        return bool(grant.user_id == user.pk)
    return Membership.objects.filter(team_id=grant.team_id, user=user).exists()


def _covers(grant: Grant, obj: Any, kind: str) -> bool:
    if grant.everything:
        return True
    if kind == "vm":
        return grant.vm_id == obj.pk or (obj.segment_id is not None and grant.segment_id == obj.segment_id)
    if kind == "host":
        return grant.host_id == obj.pk or grant.cluster_id == obj.cluster_id
    raise AssertionError(kind)
