"""How somebody was signed in who asks for a console, and whether they still are."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from knox.models import AuthToken

from access.models import User


@dataclass(frozen=True, slots=True)
class SignIn:
    """By the portal's session, or by a token of the API (its digest)."""

    session_key: str = ""
    token_digest: str = ""

    def stands(self, user_id: int) -> bool:
        """Whether it is this user's, and has not ended: by its time, by signing out, or by another password."""
        now = timezone.now()
        if self.token_digest:
            lasting = Q(expiry=None) | Q(expiry__gt=now)
            return bool(AuthToken.objects.filter(lasting, digest=self.token_digest, user=user_id).exists())
        session = Session.objects.filter(session_key=self.session_key, expire_date__gt=now).first()
        user = User.objects.filter(pk=user_id).first()
        if session is None or user is None:
            return False
        held = session.get_decoded()
        of_password = str(held.get(HASH_SESSION_KEY, ""))
        return held.get(SESSION_KEY) == str(user_id) and constant_time_compare(
            of_password, user.get_session_auth_hash()
        )
