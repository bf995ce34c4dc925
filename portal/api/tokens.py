"""Making tokens."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from knox.models import AuthToken

from access.gate import Actor
from access.models import User
from audit.events import EventAction
from audit.record import record
from portal.api.authentication import token_id

#: Automation that nobody looks after for longer than this should stop.
LONGEST_DAYS = 3650


@transaction.atomic
def token_create(*, actor: Actor, user: User, days: int) -> str:
    """Make a token that opens what its user may, for so many days. It is not stored: nobody can read it again."""
    row, text = AuthToken.objects.create(user=user, expiry=timedelta(days=days))
    record(
        EventAction.TOKEN_CREATED,
        target=user,
        actor=actor,
        after={"token_id": token_id(row), "expires_at": row.expiry.isoformat()},
    )
    return str(text)
