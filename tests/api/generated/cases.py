"""Requests, generated from the API's own description; some of them about things that are there.

Schemathesis invents ids, names and bodies that fit the description, or that break it. An invented id is nobody's, so
that a part of the cases gets the ids, names and valid bodies of the world that the access matrix is asked about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import schemathesis
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer2
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core import NotSet

from tests.access.matrix import bodies
from tests.access.matrix.addresses import parameters, sides
from tests.access.matrix.endpoints import Endpoint, by_route
from tests.access.matrix.world import World, key

#: What a case can be about, as the tables of the matrix have it.
KINDS = ("ours", "theirs", "loose", "gone", "ours+theirs", "theirs+ours", "ours+gone")
#: How OpenAPI calls what Django calls `pk`.
_CALLED = {"pk": "id"}


def description() -> Any:
    """The API's own description, for Schemathesis."""
    found = SchemaGenerator().get_schema(request=None, public=True)
    schema = schemathesis.openapi.from_dict(json.loads(OpenApiJsonRenderer2().render(found, renderer_context={})))
    schema.config.generation.with_security_parameters = False  # who asks is our affair
    return schema


def operations(schema: Any) -> list[Any]:
    """Everything that it describes."""
    return [found.ok() for found in schema.get_all_operations()]


def edges(schema: Any, operation: Any) -> Iterator[schemathesis.Case]:
    """Schemathesis' own walk over the boundaries of each parameter and member, within and beyond the description."""
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    yield from schema.iter_coverage_cases(operation, generation_modes=modes, generation_config=schema.config.generation)


@st.composite
def grounded(draw: st.DrawFn, operation: Any, mode: GenerationMode, world: World) -> schemathesis.Case:
    """A generated case; most often on an address that is there, and, if it is to be valid, with a body that is."""
    case = draw(operation.as_strategy(generation_mode=mode))
    endpoint = by_route(operation.path)
    kind = draw(st.sampled_from(KINDS))
    if case.path_parameters and draw(st.integers(0, 3)):
        for name, value in parameters(endpoint, world, kind).items():
            # The first few numbers are taken, mostly by what stands on no side of its own.
            near = draw(st.integers(1, 8)) if isinstance(value, int) and draw(st.booleans()) else value
            case.path_parameters[_CALLED.get(name, name)] = near if isinstance(near, int) else str(near)
    if mode.is_positive:
        for name in case.query or {}:
            if draw(st.booleans()):
                case.query[name] = draw(st.sampled_from(_words(world, kind)))
        if not isinstance(case.body, NotSet) and draw(st.integers(0, 3)):
            case.body = _body(draw, case.body, endpoint, operation.method.upper(), world, kind)
    return case


def _body(draw: st.DrawFn, invented: Any, endpoint: Endpoint, method: str, world: World, kind: str) -> Any:
    """A body that the matrix sends; sometimes with a member of the invented one in the place of its own."""
    valid = [body for (name, of), body in bodies.API.items() if name == endpoint.name and of.split(":")[0] == method]
    if not valid or not isinstance(invented, dict):
        return invented
    first, second = sides(world, kind)
    body = draw(st.sampled_from(valid))(second, first)
    if draw(st.booleans()) and invented:
        name = draw(st.sampled_from(sorted(invented)))
        body = {**body, name: invented[name]}
    return json.loads(json.dumps(body, default=str))


def _words(world: World, kind: str) -> list[Any]:
    """Ids and names of a side."""
    first, _second = sides(world, kind)
    things = [first.vm, first.host, first.cluster, first.segment, first.team, first.user, first.done]
    named = [getattr(thing, "name", "") or getattr(thing, "username", "") for thing in things]
    return [str(key(thing)) for thing in things if thing is not None] + [name for name in named if name] + ["view"]
