"""Four eyes over the API."""

from __future__ import annotations

import pytest

from tests import factories as make
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(estate):
    return Caller(make.user_with("owner", estate.web, username="olga"))


@pytest.fixture
def ruled(estate, admin):
    answer = admin.send("PUT", f"segments/{estate.web.pk}/approvals/", '{"needs_approval": ["vm.force_off"]}')
    assert answer.status_code == 200, answer.content
    assert answer.json()["needs_approval"] == ["vm.force_off"]
    return estate


def test_the_request_waits_and_is_approved(ruled, maintainer, owner):
    answer = maintainer.submit(ruled.vm, "vm.force_off")
    assert answer.status_code == 202, answer.content
    job = answer.json()
    assert (job["state"], job["approval"]["verdict"]) == ("awaiting_approval", "waiting")
    address = f"jobs/{job['id']}"
    problem(maintainer.post(f"{address}/approve/", {}), 403, "not_allowed")
    approved = owner.post(f"{address}/approve/", {"reason": "seen"})
    assert approved.status_code == 200, approved.content
    assert approved.json()["state"] == "queued"
    assert approved.json()["approval"]["decided_by"]["username"] == "olga"
    problem(owner.post(f"{address}/approve/", {}), 409, "invalid_transition")


def test_the_request_is_turned_down_with_a_reason(ruled, maintainer, owner):
    address = f"jobs/{maintainer.submit(ruled.vm, 'vm.force_off').json()['id']}"
    problem(owner.post(f"{address}/reject/", {}), 400, "invalid", "reason")
    turned_down = owner.post(f"{address}/reject/", {"reason": "not now"}).json()
    assert (turned_down["state"], turned_down["error"]["code"]) == ("cancelled", "rejected")
    assert maintainer.get(f"{address}/").json()["approval"]["reason"] == "not now"


def test_ones_own_request_is_for_somebody_else(ruled, owner):
    job = owner.submit(ruled.vm, "vm.force_off").json()
    problem(owner.post(f"jobs/{job['id']}/approve/", {}), 422, "own_request")


def test_strangers_see_neither_the_job_nor_its_decision(ruled, maintainer, estate):
    job = maintainer.submit(ruled.vm, "vm.force_off").json()
    stranger = Caller(make.user_with("owner", estate.db))
    for verb in ("approve", "reject"):
        problem(stranger.post(f"jobs/{job['id']}/{verb}/", {"reason": "x"}), 404, "not_found")


def test_the_glass_is_broken_with_a_reason_and_acknowledged(ruled, maintainer, owner):
    body = {"operation": "vm.force_off", "target": {"vm": ruled.vm.pk}, "break_glass": "fire in the cellar"}
    problem(maintainer.post("jobs/", body), 403, "not_allowed")
    job = owner.post("jobs/", body)
    assert (job.status_code, job.json()["state"]) == (201, "queued")
    auditor = Caller(make.user_with("auditor"))
    (listed,) = auditor.get("broken-glass/", acknowledged="false").json()["results"]
    assert (listed["job"], listed["asked_by"], listed["reason"]) == (job.json()["id"], "olga", "fire in the cellar")
    address = f"broken-glass/{listed['id']}/acknowledge/"
    problem(owner.post(address, {}), 403, "not_allowed")
    assert auditor.post(address, {"note": "looked into"}).json()["note"] == "looked into"
    assert auditor.get("broken-glass/", acknowledged="false").json()["count"] == 0
    assert Caller(make.user_with("owner", ruled.db)).get("broken-glass/").json()["count"] == 0


def test_the_rules_are_set_from_above(ruled, owner, admin):
    address = f"segments/{ruled.web.pk}/approvals/"
    problem(owner.send("PUT", address, '{"needs_approval": []}'), 403, "not_allowed")
    problem(admin.send("PUT", address, '{"needs_approval": ["fly"]}'), 400, "invalid")
    problem(admin.send("PUT", f"segments/{ruled.db.pk + 99}/approvals/", '{"needs_approval": []}'), 404, "not_found")
    assert admin.send("PUT", address, '{"needs_approval": []}').json()["needs_approval"] == []
