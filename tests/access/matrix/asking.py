"""Asking: one request, straight into the middleware, inside a savepoint that is rolled back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.signals import got_request_exception
from django.db import transaction
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.client import ClientHandler

from tests.access.matrix.people import Person

#: Headers that differ between any two answers: the length follows from the body, the clock goes on.
DIFFERING_HEADERS = frozenset({"Content-Length", "Expires", "Date"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str
    #: What was asked: the path alone, and with it everything else that was sent.
    path: str
    asked: str
    error: str = ""

    @property
    def outcome(self) -> str:
        """Its letter in the tables; the status itself where there is none."""
        if self.status == 302 and self.headers["Location"].startswith("/sign-in/?next="):
            return "A"
        if 200 <= self.status < 300:
            return "R" if "HX-Redirect" in self.headers else "V"
        letters = {302: "R", 400: "B", 401: "A", 403: "F", 404: "N", 405: "M", 409: "C", 422: "U"}
        return letters.get(self.status, str(self.status))

    def text(self) -> str:
        """Everything in it that could tell something."""
        return "\n".join([*(f"{name}: {value}" for name, value in self.headers.items()), self.body])


#: What may differ between two answers that must be alike: the name of each, and how it is blanked.
MASKS: dict[str, Callable[[str, Answer], str]] = {
    "the path with the id": lambda text, answer: text.replace(answer.path, "/PATH/"),
    "the request's id": lambda text, answer: text.replace(answer.headers["X-Request-ID"], "REQUEST-ID"),
    "the CSP nonce": lambda text, answer: re.sub(r"nonce([=\"'-]+)[\w+/=-]{16,}", r"nonce\1NONCE", text),
    "the CSRF token": lambda text, answer: re.sub(
        r'((?:csrfmiddlewaretoken" value="|csrftoken=))\w+', r"\1TOKEN", text
    ),
    "what was typed": lambda text, answer: re.sub(r'(<input type="text" [^>]*value=")[^"]*', r"\1TYPED", text),
    "ages, which grow": lambda text, answer: re.sub(r"(<time [^>]*>)[^<]*", r"\1AGE", text),
    "the page's clock": lambda text, answer: re.sub(r'data-now="[^"]+"|expires=[^;]+GMT', "CLOCK", text),
}


def masked(answer: Answer) -> str:
    """The whole answer without what may differ: status, headers and body."""
    kept = {name: value for name, value in answer.headers.items() if name not in DIFFERING_HEADERS}
    text = "\n".join([str(answer.status), *(f"{name}: {value}" for name, value in sorted(kept.items())), answer.body])
    for mask in MASKS.values():
        text = mask(text, answer)
    return text


class Door:
    """The portal's one door, without a network before it. Pages are asked with a session, the API with a token; what
    changes something on a page is sent as the portal's own forms do, by htmx.
    """

    def __init__(self) -> None:
        self._requests = RequestFactory()
        self._handler = ClientHandler(enforce_csrf_checks=False)
        self._handler.load_middleware()

    def ask(
        self,
        person: Person,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        other: bool = False,
        forged: bool = False,
        keep: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> Answer:
        """Send a request; what it does is undone, unless it is `kept`.

        With `other`, the token is shown to the page and the session to the API. One that is `forged` comes without the
        proof that a page of the portal made it.
        """
        is_api = path.startswith("/api/v1/") and not path.startswith("/api/v1/docs/")
        from_form = not is_api and method not in ("GET", "HEAD")
        headers = self._shown(person, is_api is not other) | ({"HX-Request": "true"} if from_form else {})
        kind = "application/json" if is_api else "application/x-www-form-urlencoded"
        if method in ("GET", "HEAD") and body:
            path, body = f"{path}?{urlencode(body)}", None
        sent = "" if method in ("GET", "HEAD") or body is None else (json.dumps(body) if is_api else urlencode(body))
        request = self._requests.generic(method, path, sent, content_type=kind, headers=headers)
        request._dont_enforce_csrf_checks = not forged
        with errors() as broken, (keep or undone)():
            response = self._handler.get_response(request)
            return Answer(
                response.status_code,
                _headers(response),
                b"".join(response).decode(),
                request.path,
                f"{path} {sent}",
                "".join(broken),
            )

    @staticmethod
    def _shown(person: Person, by_token: bool) -> dict[str, str]:
        if by_token:
            return {"Authorization": f"Token {person.token}"} if person.token else {}
        return {"Cookie": f"sessionid={person.cookie}"} if person.cookie else {}


@contextmanager
def undone() -> Iterator[None]:
    """Roll back what happens in the block. Refusals, which commit by themselves, may do so inside."""
    with kept():
        yield
        transaction.set_rollback(True)


@contextmanager
def kept() -> Iterator[None]:
    """As `undone`, but what happens in the block stays, until something around it is rolled back."""
    savepoint = transaction.atomic()
    savepoint._from_testcase = True  # type: ignore[attr-defined]  # what Django's own test cases say of theirs
    with savepoint:
        yield


@contextmanager
def errors() -> Iterator[list[str]]:
    """Collect what broke, for the message of the failing test."""
    import traceback

    seen: list[str] = []

    def note(sender: Any, **kwargs: Any) -> None:
        seen.append(traceback.format_exc(limit=-3))

    got_request_exception.connect(note, weak=False)
    try:
        yield seen
    finally:
        got_request_exception.disconnect(note)


def _headers(response: HttpResponse) -> dict[str, str]:
    cookies = [morsel.OutputString() for _name, morsel in sorted(response.cookies.items())]
    return {**dict(response.items()), **({"Set-Cookie": " | ".join(cookies)} if cookies else {})}
