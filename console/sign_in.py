"""How somebody was signed in who asks for a console, and whether they still are."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.sessions.models import Session
from django.db.models import Q
from django.utils import timezone
from knox.models import AuthToken


@dataclass(frozen=True, slots=True)
class SignIn:
    """By the portal's session, or by a token of the API (its digest)."""

    session_key: str = ""
    token_digest: str = ""

    def stands(self) -> bool:
        """Whether it has not ended."""
        now = timezone.now()
        if self.token_digest:
            lasting = Q(expiry=None) | Q(expiry__gt=now)
            return bool(AuthToken.objects.filter(lasting, digest=self.token_digest).exists())
        return Session.objects.filter(session_key=self.session_key, expire_date__gt=now).exists()
