"""What every page needs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from access import gate
from access.actions import Action
from inventory.models import Host


def page(request: HttpRequest) -> dict[str, Any]:
    """The nonce for scripts, what the user's menu holds, and whether the estate is simulated."""
    user = getattr(request, "user", None)
    signed_in = user is not None and user.is_authenticated
    return {
        "csp_nonce": SimpleLazyObject(lambda: str(request.csp_nonce)),  # type: ignore[attr-defined]
        "may_read_audit": SimpleLazyObject(lambda: signed_in and gate.can(user, Action.READ_AUDIT)),
        "estate_is_simulated": SimpleLazyObject(lambda: signed_in and Host.objects.filter(scheme="sim").exists()),
        "base_url": settings.BASE_URL,
    }
