"""Access for a while over the API."""

from __future__ import annotations

import pytest

from tests import factories as make
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(estate):
    return Caller(make.user_with("owner", estate.web, username="olga"))


def asked(caller, estate, **more):
    body = {"role": "operator", "vm": estate.vm.pk, "hours": 2, "reason": "the closing"} | more
    return caller.post("access-requests/", {name: value for name, value in body.items() if value is not None})


def test_it_is_asked_for_and_given(estate, viewer, owner):
    answer = asked(viewer, estate)
    assert answer.status_code == 201, answer.content
    address = answer["Location"].split("/api/v1/")[1]
    assert viewer.submit(estate.vm).status_code == 403
    given = owner.post(f"{address}grant/", {"note": "fine"})
    assert given.status_code == 200, given.content
    assert (given.json()["verdict"], given.json()["decided_by"]["username"]) == ("granted", "olga")
    assert viewer.submit(estate.vm).status_code == 201
    problem(owner.post(f"{address}refuse/", {"note": "no"}), 400, "invalid")


def test_it_is_turned_down_or_taken_back(estate, viewer, owner):
    first = asked(viewer, estate).json()["id"]
    problem(owner.post(f"access-requests/{first}/refuse/", {}), 400, "invalid", "note")
    assert owner.post(f"access-requests/{first}/refuse/", {"note": "no"}).json()["verdict"] == "refused"
    second = asked(viewer, estate).json()["id"]
    assert viewer.post(f"access-requests/{second}/withdraw/").json()["verdict"] == "withdrawn"
    assert owner.get("access-requests/", verdict="waiting").json()["count"] == 0


def test_strangers_find_nothing(estate, viewer):
    request = asked(viewer, estate).json()["id"]
    stranger = Caller(make.user_with("owner", estate.db))
    assert stranger.get("access-requests/").json()["count"] == 0
    for verb in ("grant", "refuse", "withdraw"):
        problem(stranger.post(f"access-requests/{request}/{verb}/", {}), 404, "not_found")
    problem(asked(viewer, estate, vm=estate.foreign.pk), 404, "not_found")


@pytest.mark.parametrize("more", [{"hours": 0}, {"hours": 1000}, {"reason": ""}, {"vm": None}, {"fly": 1}])
def test_a_malformed_request_is_a_400(estate, viewer, more):
    assert asked(viewer, estate, **more).status_code == 400
