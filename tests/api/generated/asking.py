"""One generated request, straight into the middleware, as one of many; what it does is looked at, then undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import unquote

import requests
import schemathesis
from django.core.handlers.wsgi import WSGIRequest
from django.test.client import ClientHandler
from django.utils import timezone
from knox.models import AuthToken
from schemathesis.transport.wsgi import WSGI_TRANSPORT
from werkzeug.test import EnvironBuilder

from audit.models import AuditEvent
from tests import factories as make
from tests.access.matrix.asking import Answer, errors, undone
from tests.access.matrix.people import Person
from tests.access.matrix.world import World
from tests.tables import RECORD, content, contents, writes


@dataclass(frozen=True, slots=True)
class Asked:
    """What came back of a request, and what it did before that was undone."""

    answer: Answer
    response: schemathesis.Response
    #: Tables other than the record whose content is another than before.
    changed: tuple[str, ...]
    #: (action, outcome) of each event that it left in the record.
    events: tuple[tuple[str, str], ...]


def callers(world: World, people: Mapping[str, Person]) -> dict[str, Person]:
    """Who asks, by name: some of the matrix' people, and two that it does not have. A letter says who knows what."""
    administrator = make.user_with("administrator", username="ada")
    ended = make.user_with("owner", world.ours.segment, username="ended")
    token = make.token(ended)
    AuthToken.objects.filter(user=ended).update(expiry=timezone.now() - timedelta(seconds=1))
    return {
        "nobody": people["a"],
        "closed account": people["c"],
        "ended token": Person("a", token=token),
        "no team": people["s"],
        "ended grant": people["e"],
        "viewer": people["v"],
        "asker": Person("w", token=make.token(world.ours.user)),  # a viewer, who may know of what they asked for
        "owner": people["w"],
        "other owner": people["r"],
        "platform operator": people["p"],
        "auditor": people["u"],
        "administrator": Person("+", token=make.token(administrator)),
    }


class GeneratedDoor:
    """Sends cases of Schemathesis as somebody, without a network before the portal."""

    def __init__(self) -> None:
        self._handler = ClientHandler(enforce_csrf_checks=False)
        self._handler.load_middleware()
        self._at_rest = contents()
        self._last_event = _last_event()

    def ask(
        self, person: Person, case: schemathesis.Case, keep: Callable[[], AbstractContextManager[None]] = undone
    ) -> Asked:
        """Send a case. With another `keep` than `undone`, what it does stays for the cases after it."""
        sent = WSGI_TRANSPORT.serialize_case(case, headers=_shown(person), base_url="http://localhost")
        environ = EnvironBuilder(**sent).get_environ()
        with errors() as broken, keep(), writes() as touched:
            response = self._handler.get_response(WSGIRequest(environ))
            body = b"".join(response)
            changed = self._changed(touched - {RECORD})
            if keep is not undone and response.status_code < 400:
                self._at_rest |= {table: content(table) for table in changed}
            events = self._events() if RECORD in touched else ()
            if keep is not undone:
                self._last_event = _last_event()
        url = f"http://localhost{sent['path']}"
        headers = {name: [value] for name, value in response.items()}
        answered = schemathesis.Response(
            response.status_code, headers, body, requests.Request(case.method, url).prepare(), 0.0, verify=False
        )
        asked = f"{unquote(sent['path'])} {sent.get('query_string')} {sent.get('json', sent.get('data'))}"
        answer = Answer(
            response.status_code, dict(response.items()), body.decode(), sent["path"], asked, "".join(broken)
        )
        return Asked(answer, answered, changed, events)

    def _changed(self, touched: set[str]) -> tuple[str, ...]:
        """Tables that were written to and not put back: a failed request may begin, and must leave nothing."""
        return tuple(sorted(table for table in touched if content(table) != self._at_rest.get(table)))

    def _events(self) -> tuple[tuple[str, str], ...]:
        found = AuditEvent.objects.filter(pk__gt=self._last_event).order_by("pk")
        return tuple(found.values_list("action", "outcome"))


def _last_event() -> int:
    return AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _shown(person: Person) -> dict[str, str]:
    return {"Authorization": f"Token {person.token}"} if person.token else {}
