"""Who calls: by a token in the header, or by the portal's own session."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from access.models import User

_REFUSED = "The token is not valid."


class TokenAuthentication(KnoxTokenAuthentication):
    """`Authorization: Token ...`. Refuses unknown and ended tokens and closed accounts, all in the same words."""

    def authenticate_credentials(self, token: bytes) -> tuple[User, AuthToken]:
        """Find the token by its digest, in one statement. Raises AuthenticationFailed.

        Knox's own way deletes ended tokens while it reads; here what somebody held stays to be seen.
        """
        try:
            digest = hash_token(token.decode("ascii"))
        except UnicodeDecodeError:
            raise AuthenticationFailed(_REFUSED) from None
        found = AuthToken.objects.select_related("user").filter(pk=digest).first()
        ended = found is None or (found.expiry is not None and found.expiry <= timezone.now())
        if ended or not found.user.is_active:
            raise AuthenticationFailed(_REFUSED)
        return found.user, found


class CSRFFailed(PermissionDenied):
    """A call with the portal's session came without the proof that the portal's own page made it."""

    default_code = "csrf_failed"


class SessionAuthentication(authentication.SessionAuthentication):
    """The portal's session, for its own pages; calls that change something need the CSRF token as well."""

    def enforce_csrf(self, request: Request) -> None:
        """Raises CSRFFailed."""
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            raise CSRFFailed(str(error.detail)) from error


def token_id(auth: Any) -> str:
    """How the record names a token: the beginning of its digest, from which nothing can be signed in."""
    return auth.digest[:16] if isinstance(auth, AuthToken) else ""


class TokenScheme(OpenApiAuthenticationExtension):
    """How the schema describes the token."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token` and a space before the token. An operator makes one with `manage.py token_create`.",
        }


class SessionScheme(OpenApiAuthenticationExtension):
    """How the schema describes the session."""

    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "The portal's own session."}
