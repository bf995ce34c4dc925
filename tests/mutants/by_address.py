"""The access matrix, one address at a time: what a mutant in one view breaks shows without asking all the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.access.matrix.notation import table
from tests.access.matrix.walk import TABLES, Walk, asked, probed_by, probes, stage

ADDRESSES = [
    pytest.param(name, address, id=f"{name}-{address}")
    for name in TABLES
    for address in dict.fromkeys(row.endpoint for row in table(name))
]


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """The world and the people, for all addresses that this process asks."""
    with django_db_blocker.unblock(), stage() as found:
        yield found


@pytest.mark.parametrize(("name", "address"), ADDRESSES)
def test_address(name: str, address: str, scene: Any) -> None:
    _holds(asked(name, [row for row in table(name) if row.endpoint == address], scene))


@pytest.mark.parametrize("number", range(len(probes())), ids=[probe.pattern for probe in probes()])
def test_probe(number: int, scene: Any) -> None:
    _holds(probed_by([probes()[number]], scene))


def _holds(found: Walk) -> None:
    assert found.cells > 0
    assert (found.wrong, found.leaks, found.unlike) == ([], [], [])
