"""Errors as answers: RFC 9457 problem documents. What a refusal of the inner layers is, `portal.errors` says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.core.signals import got_request_exception
from django.db import IntegrityError
from rest_framework import exceptions, serializers
from rest_framework.response import Response

from access.actions import Action
from access.errors import NotVisible
from portal.errors import Problem, problem_of, record_refusal

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_FRAMEWORK: dict[type[exceptions.APIException], tuple[str, str]] = {
    exceptions.ParseError: ("Malformed request", "malformed"),
    exceptions.AuthenticationFailed: ("Not signed in", "not_authenticated"),
    exceptions.NotAuthenticated: ("Not signed in", "not_authenticated"),
    exceptions.NotFound: ("Not found", "not_found"),
    exceptions.MethodNotAllowed: ("Method not allowed", "method_not_allowed"),
    exceptions.NotAcceptable: ("Not acceptable", "not_acceptable"),
    exceptions.UnsupportedMediaType: ("Unsupported media type", "unsupported_media_type"),
}
_CONFLICT = Problem(409, "Conflict", "conflict", "Something else refers to this, or was changed at the same time.")
_BUG = Problem(500, "Internal error", "internal_error", "Slipway made a mistake; its log has the details.")


class NoSuchObject(Exception):
    """A request names an object that is not there, or that the caller cannot see: the answer makes no difference.

    `field` is where in the body it was named; `hidden` is the object, if it is there, for the record of refusals.
    """

    def __init__(self, field: str = "", *, hidden: Any = None) -> None:
        super().__init__("There is no such object.")
        self.field = field
        self.hidden = hidden


class FieldErrorSerializer(serializers.Serializer):
    """What is wrong with one input."""

    field = serializers.CharField(help_text="Where: members of the body joined by dots, or the parameter's name.")
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer):
    """A problem document (RFC 9457)."""

    type = serializers.CharField(help_text="Always `about:blank`: `code` says which problem it is.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="Stable, for programs.")
    detail = serializers.CharField(help_text="One sentence for a person.")
    instance = serializers.CharField(help_text="The address that was asked for.")
    request_id = serializers.CharField(help_text="Also in the record and the log.")
    errors = FieldErrorSerializer(many=True, required=False)


def problem_response(error: Exception, context: dict[str, Any]) -> Response:
    """The answer to whatever a view raised. A refusal is recorded first; a bug is logged and not explained."""
    request = context["request"]
    if isinstance(error, NoSuchObject) and error.hidden is not None:
        record_refusal(NotVisible(user=request.user, action=Action.VIEW, target=error.hidden))
    else:
        record_refusal(error)
    problem = _problem(error)
    if problem is _BUG:
        log.error("%s %s", request.method, request.path, exc_info=error)
        got_request_exception.send(sender=type(context.get("view")), request=request)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "instance": request.path,
        "request_id": getattr(request, "request_id", ""),
    }
    errors = list(_field_errors(error, problem))
    if errors:
        body["errors"] = errors
    return Response(body, status=problem.status, headers=_headers(error), content_type=MEDIA_TYPE)


def _problem(error: Exception) -> Problem:
    foreseen = problem_of(error)
    if foreseen is not None:
        return foreseen
    if isinstance(error, NoSuchObject):
        return Problem(404, "Not found", "not_found", str(error), error.field)
    if isinstance(error, exceptions.ValidationError):
        first = next(_flattened(error.detail), ("", "The request is not valid."))
        return Problem(400, "Invalid request", "invalid", ": ".join(part for part in first if part))
    if isinstance(error, exceptions.APIException):
        for kind, (title, code) in _FRAMEWORK.items():
            if isinstance(error, kind):
                return Problem(error.status_code, title, code, str(error.detail))
        return Problem(error.status_code, "Refused", str(error.get_codes()), str(error.detail))
    if isinstance(error, IntegrityError):
        return _CONFLICT
    return _BUG


def _field_errors(error: Exception, problem: Problem) -> Iterator[dict[str, str]]:
    if isinstance(error, exceptions.ValidationError):
        for field, detail in _flattened(error.detail):
            yield {"field": field, "detail": detail}
    elif problem.field:
        yield {"field": problem.field, "detail": problem.detail}


def _flattened(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """DRF's nested lists and dictionaries as (`target.vm`, sentence)."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            step = "" if name == "non_field_errors" else str(name)
            yield from _flattened(inner, ".".join(part for part in (path, step) if part))
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            # A list of sentences is about the field itself; a list of anything else is about its items.
            where = path if isinstance(inner, str) else f"{path}.{number}"
            yield from _flattened(inner, where)
    else:
        yield path, str(detail)


def _headers(error: Exception) -> dict[str, str]:
    challenge = getattr(error, "auth_header", None)
    return {"WWW-Authenticate": challenge} if challenge else {}
