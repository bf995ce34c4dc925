"""What happens around every request: an id, who acts, a declared action, and errors as answers."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from access.standing import standing_of
from audit.context import acting_as
from portal.declared import declaration_of
from portal.errors import problem_of, record_refusal

log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")

Handler = Callable[[HttpRequest], HttpResponse]


class RequestIdMiddleware:
    """Gives each request an id (a caller's `X-Request-ID`, if it is a plain one) and returns it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request.request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
        response["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        return response


class AuditContextMiddleware:
    """Says who acts, for everything recorded during the request. The API refines it once a token has been read."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        via = "api" if request.path.startswith("/api/") else "web"
        facts = {
            "request_id": request.request_id,  # type: ignore[attr-defined]
            "source_address": request.META.get("REMOTE_ADDR", "") or "",
            "standing": standing_of(request.user),
        }
        with acting_as(request.user, via=via, **facts):  # type: ignore[arg-type]
            return self.get_response(request)


class DeclaredActionMiddleware:
    """Refuses views that declare nothing: a forgotten check is an error, never an open door."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        declared = declaration_of(view)
        if declared is None:
            log.error("the view %s declares no action", getattr(view, "__qualname__", view))
            raise PermissionDenied
        return None


class ErrorMiddleware:
    """Turns foreseen errors of a page into their page. (The API has its own handler, from the same table.)"""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        problem = problem_of(error)
        if problem is None:
            return None
        record_refusal(error)
        return render(request, "problem.html", {"problem": problem}, status=problem.status)
