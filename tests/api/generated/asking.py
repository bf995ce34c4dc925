"""One generated request, straight into the middleware, as one of many; what it does is looked at, then undone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import requests
import schemathesis
from django.apps import apps
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
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

_RECORD = AuditEvent._meta.db_table
_WRITING = re.compile(r'\s*(?:INSERT INTO|UPDATE|DELETE FROM|REPLACE INTO)\s+"(\w+)"', re.IGNORECASE)


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
        self._last_event = AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first()

    def ask(
        self, person: Person, case: schemathesis.Case, keep: Callable[[], AbstractContextManager[None]] = undone
    ) -> Asked:
        """Send a case. With another `keep` than `undone`, what it does stays for the cases after it."""
        sent = WSGI_TRANSPORT.serialize_case(case, headers=_shown(person), base_url="http://localhost")
        environ = EnvironBuilder(**sent).get_environ()
        with errors() as broken, keep(), writes() as touched:
            response = self._handler.get_response(WSGIRequest(environ))
            body = b"".join(response)
            changed = self._changed(touched - {_RECORD})
            if keep is not undone and response.status_code < 400:
                self._at_rest |= {table: content(table) for table in changed}
            events = self._events() if _RECORD in touched else ()
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
        found = AuditEvent.objects.filter(pk__gt=self._last_event or 0).order_by("pk")
        return tuple(found.values_list("action", "outcome"))


@contextmanager
def writes() -> Iterator[set[str]]:
    """The tables that statements in the block write to."""
    touched: set[str] = set()

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = _WRITING.match(sql)
        if found:
            touched.add(found[1])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield touched


def contents() -> dict[str, str]:
    """Table -> a digest of all that it holds."""
    tables = [model._meta.db_table for model in apps.get_models(include_auto_created=True)]
    return {table: content(table) for table in tables if table != _RECORD}


def content(table: str) -> str:
    """A digest of a table's rows."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{table}" ORDER BY 1')  # noqa: S608 - a table's name, from the models
        return hashlib.sha256(repr(cursor.fetchall()).encode()).hexdigest()


def _shown(person: Person) -> dict[str, str]:
    return {"Authorization": f"Token {person.token}"} if person.token else {}
