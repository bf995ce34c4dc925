"""What Schemathesis makes of the API's description, sent as everybody.

Each case, valid or broken, goes to the API as each of twelve callers. Whatever it is and whoever sends it, the answer
must be one that is described, name nothing that its reader must not know, and leave nothing behind when it was refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests import factories as make
from tests.api.generated.cases import description
from tests.api.generated.runs import Run, generated, leads_nowhere, linked
from tests.tables import content, writes

pytestmark = pytest.mark.django_db

#: Operations to which nothing wrong can be sent: they take nothing, or any text.
UNBREAKABLE = {
    "GET /api/v1/", "GET /api/v1/me/", "GET /api/v1/vms/{id}/", "GET /api/v1/vms/{id}/baseline/",
    "GET /api/v1/vms/{vm}/definition/",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(django_db_setup: None, django_db_blocker: Any) -> Callable[[Callable[[], Run]], Run]:
    """Makes a run outside the test's own transaction."""

    def make(run: Callable[[], Run]) -> Run:
        with django_db_blocker.unblock():
            found = run()
        print(f"{sum(found.cases.values())} cases, {sum(found.answers.values())} answers")
        return found

    return make


@pytest.fixture(scope="module")
def run(made: Callable[..., Run]) -> Run:
    return made(lambda: generated(3, with_edges=False))


@pytest.fixture(scope="module", params=["administrator", "owner"])
def following(request: pytest.FixtureRequest, made: Callable[..., Run]) -> Run:
    return made(lambda: linked(12, 12, request.param))


@pytest.fixture(scope="module")
def long_run(made: Callable[..., Run]) -> Run:
    return made(lambda: generated(20, with_edges=True))


@pytest.fixture(scope="module")
def altered(made: Callable[..., Run]) -> Run:
    """Of the description of `me/` without its 401, and with a number where the name is."""
    schema = description()
    schema = schema.include(path="/api/v1/me/")
    del schema.raw_schema["paths"]["/api/v1/me/"]["get"]["responses"]["401"]
    schema.raw_schema["components"]["schemas"]["Me"]["properties"]["username"] = {"type": "integer"}
    return made(lambda: generated(1, with_edges=False, schema=schema))


def test_every_answer_is_as_described_and_nobody_learns_or_changes_what_is_not_theirs(run: Run):
    assert sum(run.answers.values()) > 3_000
    assert list(run.findings.values()) == []


def test_every_operation_was_sent_valid_and_broken_cases(run: Run):
    assert len(run.cases) > 50
    assert run.unbreakable == UNBREAKABLE


def test_a_chain_of_requests_is_answered_as_described(following: Run):
    assert sum(following.cases.values()) > 50
    assert list(following.findings.values()) == []


@pytest.mark.parametrize(("key", "nowhere"), [(7, False), (0, False), ("", True), (None, True)])
def test_a_link_from_what_is_null_leads_nowhere(key, nowhere):
    case = description()["/api/v1/segments/{id}/"]["GET"].Case(path_parameters={"id": key})
    assert leads_nowhere(case) is nowhere


@pytest.mark.long
def test_the_same_with_many_cases(long_run: Run):
    assert sum(long_run.answers.values()) > 20_000
    assert list(long_run.findings.values()) == []
    assert sorted(set(long_run.cases) - long_run.served) == [], "operations that did for nobody what they are for"


def test_an_answer_that_is_not_as_described_is_found(altered: Run):
    found = {(name, kind) for _label, name, kind in altered.findings}
    assert ("nobody", "Undocumented status code") in found
    assert ("viewer", "Response violates schema") in found


def test_what_is_written_is_seen():
    cluster = make.cluster()
    before = content("inventory_cluster")
    with writes() as touched:
        cluster.queue = "other"
        cluster.save()
    assert touched == {"inventory_cluster"}
    assert content("inventory_cluster") != before
