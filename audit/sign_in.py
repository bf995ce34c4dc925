"""How strongly whoever acted had shown who they are. Told from the sealed columns of an event: no column of its own."""

from __future__ import annotations

from django.db import models

from audit.models import AuditEvent


class SignIn(models.TextChoices):
    """What was shown, the strongest first."""

    SERVER = "server", "An account on the server, at its command line"
    PASSWORD = "password", "A session, begun with a password"
    TOKEN = "token", "An API token, which programs keep"
    NOTHING = "nothing", "Nothing: not signed in"
    NOBODY = "nobody", "Slipway itself; what it does for a person, they signed in for with the request"


def sign_in_of(event: AuditEvent) -> SignIn:
    """How the actor of an event had signed in."""
    if event.via == "cli":
        return SignIn.SERVER
    if event.actor_kind == "anonymous":
        return SignIn.NOTHING
    if event.via not in ("web", "api"):
        return SignIn.NOBODY
    return SignIn.TOKEN if event.token_id else SignIn.PASSWORD
