"""Which addresses exist: a walk through the URL resolver, and through the API's own description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator

#: Addresses that no table needs to know, each with the reason.
EXEMPT: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address by name, with the names of what has to be filled in."""

    name: str
    parameters: tuple[str, ...]
    route: str


def endpoints() -> dict[str, Endpoint]:
    """Every address of the installation by its full name. Raises ValueError for one without a name of its own."""
    found: dict[str, Endpoint] = {}
    for endpoint in _walk(get_resolver(), "", (), ""):
        if endpoint.name in found or endpoint.name.endswith(":None"):
            raise ValueError(f"{endpoint.route} has no name of its own: {endpoint.name}")
        found[endpoint.name] = endpoint
    return found


def described() -> set[tuple[str, str]]:
    """(name, method) of everything that the API's description knows."""
    paths = SchemaGenerator(patterns=None).get_schema(request=None, public=True)["paths"]
    return {(by_route(path).name, method.upper()) for path, methods in paths.items() for method in methods}


def by_route(path: str) -> Endpoint:
    """The address of a path as the API's description writes it: `/api/v1/vms/{id}/`."""
    return _by_route()[_plain(path)]


@cache
def _by_route() -> dict[str, Endpoint]:
    return {_plain(f"/{endpoint.route}"): endpoint for endpoint in endpoints().values()}


def _walk(resolver: URLResolver, prefix: str, above: tuple[str, ...], route: str) -> Iterator[Endpoint]:
    for entry in resolver.url_patterns:
        here = route + str(entry.pattern)
        parameters = (*above, *(entry.pattern.converters or entry.pattern.regex.groupindex))
        if isinstance(entry, URLResolver):
            space = f"{prefix}{entry.namespace}:" if entry.namespace else prefix
            yield from _walk(entry, space, parameters, here)
        elif isinstance(entry, URLPattern):
            yield Endpoint(f"{prefix}{entry.name}", parameters, here)


def _plain(route: str) -> str:
    """A route with its parameters left blank: Django's and OpenAPI's way of writing it come to the same."""
    return "/".join("*" if part[:1] in ("<", "{") else part for part in route.split("/"))
