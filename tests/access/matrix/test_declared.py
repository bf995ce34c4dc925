"""What the views declare: as `declared.table` says, and no more than what whoever is let through does hold."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import URLResolver, get_resolver, path

from access.actions import Action
from access.role_templates import TEMPLATES
from portal import urls as portal_urls
from portal.declared import PUBLIC, SIGNED_IN, declaration_of, declares
from tests import factories as make
from tests.access.matrix.endpoints import endpoints
from tests.access.matrix.notation import HERE, lines, table
from tests.access.matrix.walk import TABLES

#: The best role of everybody who holds something, as `people.py` gives them out.
_ROLES = {
    "r": "owner", "g": "viewer", "h": "placement", "v": "viewer", "o": "operator", "m": "maintainer", "w": "owner",
    "p": "platform-operator", "u": "auditor",
}  # fmt: skip
#: Letters of who came past the check.
_LET_THROUGH = frozenset("VRBCU")


def _said() -> dict[str, str]:
    """Address, or a pattern for several -> what it declares."""
    found: dict[str, str] = {}
    for where, line in lines(HERE / "declared.table"):
        declaration, *names = line.split()
        for name in names:
            assert name not in found, f"{where}: {name} is said twice"
            found[name] = declaration
    return found


def _expected(name: str, said: dict[str, str]) -> str:
    matching = [declaration for pattern, declaration in said.items() if fnmatchcase(name, pattern)]
    return said.get(name) or next(iter(matching), "nothing")


def _views(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, Any]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _views(entry, f"{prefix}{entry.namespace}:" if entry.namespace else prefix)
        else:
            yield f"{prefix}{entry.name}", entry.callback


def _in_words(declaration: Any) -> str:
    if isinstance(declaration, Action):
        return declaration.value
    return {PUBLIC: "public", SIGNED_IN: "signed-in"}.get(declaration, "nothing")


def test_every_view_declares_what_the_table_says():
    said = _said()
    declared = {name: _in_words(declaration_of(view)) for name, view in _views(get_resolver(), "")}
    assert declared == {name: _expected(name, said) for name in endpoints()}
    assert {name for name in said if "*" not in name} <= set(declared), "lines of addresses that are no more"


def forgotten(request):
    """A view without a declaration."""
    return HttpResponse("open")


urlpatterns = [
    path("forgotten/", forgotten),
    path("remembered/", declares(SIGNED_IN)(lambda request: HttpResponse("open"))),
    *portal_urls.urlpatterns,
]


@pytest.mark.django_db
@pytest.mark.urls(__name__)
def test_a_view_that_declares_nothing_is_refused_to_everybody(client):
    """A forgotten check is never an open door."""
    client.force_login(make.user_with("administrator"), backend="access.backends.GateBackend")
    assert client.get("/forgotten/").status_code == 403
    assert client.get("/remembered/").content == b"open"
    client.logout()
    assert client.get("/remembered/").status_code == 302


def test_whoever_is_let_through_holds_what_is_declared():
    said, actions = _said(), {template.slug: template.actions for template in TEMPLATES}
    held = {person: {action.value for action in actions[role]} for person, role in _ROLES.items()}
    for row in (row for name in TABLES for row in table(name)):
        declared = _expected(row.endpoint, said)
        through = {person for person, letter in row.asked if letter in _LET_THROUGH}
        if declared == "signed-in" or (declared == "view" and row.kind == "-"):  # a list, empty for who sees nothing
            assert not through & set("ac"), row.name
        elif declared != "public":
            assert {person for person in through if declared not in held.get(person, ())} == set(), row.name
