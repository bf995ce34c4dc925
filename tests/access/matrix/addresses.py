"""Where requests go: an endpoint's name and a kind of object make an address.

A kind is a side (`ours`), or two: `ours+theirs` is something of theirs under, or sent to, something of ours.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.urls import reverse

from tests.access.matrix.endpoints import Endpoint
from tests.access.matrix.world import MODELS, Side, World, key

#: Addresses that cannot be made from a name.
FIXED = {"api:nowhere": "/api/v1/no/such/address/"}
#: Nouns that are not the first word of their endpoints' names.
_NOUNS = {
    "api:audit-event-detail": "event",
    "job-detail": "done",
    "job-live": "done",
    "api:job-detail": "done",
    "job-approve": "waiting",
    "job-reject": "waiting",
    "api:job-approve": "waiting",
    "api:job-reject": "waiting",
    "access-give": "request",
    "access-refuse": "request",
    "api:access-request-detail": "request",
    "api:access-request-grant": "request",
    "api:access-request-refuse": "request",
    "api:access-request-withdraw": "request",
    "broken-glass-acknowledge": "broken",
    "api:broken-glass-detail": "broken",
    "api:broken-glass-acknowledge": "broken",
    "auditors:search_forget": "search",
    "placement-rule-new": "cluster",
    "placement-rule-lift": "cluster",
}
#: What is filled in that is no object.
_VERBS = {"job-control": "force-completion", "vm-power": "reboot"}
_WORDS = {"app_label": "inventory", "form": "csv"}
#: Parameters that name the object itself; the others name something under it.
_FIRST = ("pk", "object_id", "team", "vm")


def sides(world: World, kind: str) -> tuple[Side, Side]:
    """The side that the address is about, and the side of what is under it or sent to it. A kind `-` is about none."""
    first, _, second = ("ours" if kind == "-" else kind).partition("+")
    return world.side(first), world.side(second or first)


def address(endpoint: Endpoint, world: World, kind: str) -> str:
    """The path of an endpoint for a kind of object."""
    if endpoint.name in FIXED:
        return FIXED[endpoint.name]
    return reverse(endpoint.name, kwargs=parameters(endpoint, world, kind))


def parameters(endpoint: Endpoint, world: World, kind: str) -> dict[str, Any]:
    """What an endpoint's path is filled in with for a kind of object."""
    first, second = sides(world, kind)
    return {
        name: _WORDS.get(name)
        or (_VERBS[endpoint.name] if name == "verb" else None)
        or _value(endpoint, name, first if name in _FIRST else second)
        for name in endpoint.parameters
    }


def _value(endpoint: Endpoint, parameter: str, side: Side) -> Any:
    if parameter == "object_id":
        app, model, _page = endpoint.name.removeprefix("auditors:").split("_")
        return key(getattr(side, MODELS[apps.get_model(app, model)]))
    if parameter == "pk":
        noun = _NOUNS.get(endpoint.name) or endpoint.name.removeprefix("api:").partition("-")[0]
        return key(getattr(side, noun))
    return key(getattr(side, parameter))
