"""Work on hosts by the API: the plan, the roster, a part's parent, and who may know of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from inventory.models import ApprovalRule, Cluster
from jobs.models import Job
from jobs.states import State
from tests import factories as make
from tests.api.conftest import Caller, Estate, problem

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _shared(estate: Estate) -> None:
    Cluster.objects.update(shared_storage=True)


def ask(caller: Caller, operation: str, host: Any, **params: Any) -> Any:
    return caller.post("jobs/", {"operation": operation, "target": {"host": host.pk}, "params": params})


def test_the_plan_tells_where_each_vm_would_go_and_why_not(estate: Estate, admin: Caller) -> None:
    large = make.vm("web-large", segment=estate.web, host=estate.north, memory_mib=64_000)
    off = make.vm("web-off", segment=estate.web, host=estate.north, running=False)
    plan = admin.get(f"hosts/{estate.north.pk}/drain-plan/").json()
    assert plan["moves"] == [
        {"vm": {"id": estate.vm.pk, "name": "web-1"}, "destination": {"id": estate.south.pk, "name": "south"}}
    ]
    assert [(one["vm"]["id"], one["code"]) for one in plan["stuck"]] == [(large.pk, "no_destination")]
    assert plan["off"] == [{"id": off.pk, "name": "web-off"}]
    assert (plan["hidden"], plan["is_complete"], plan["needs_approval"]) == (0, False, False)
    ApprovalRule.objects.create(segment=estate.web, operation="vm.migrate")
    assert admin.get(f"hosts/{estate.north.pk}/drain-plan/").json()["needs_approval"] is True


def test_the_plan_is_for_who_operates_the_host_and_names_what_they_see(
    estate: Estate, maintainer: Caller, viewer: Caller
) -> None:
    problem(maintainer.get(f"hosts/{estate.north.pk}/drain-plan/"), 403, "not_allowed")
    problem(viewer.get(f"hosts/{estate.north.pk}/drain-plan/"), 404, "not_found")
    keeper = Caller(make.user_with("platform-operator", estate.cluster))
    answer = keeper.get(f"hosts/{estate.north.pk}/drain-plan/")
    assert (answer.json()["moves"], answer.json()["hidden"]) == ([], 1)
    assert "web-1" not in answer.content.decode()


def test_a_drain_is_asked_for_and_an_incomplete_one_refused(estate: Estate, admin: Caller) -> None:
    answer = ask(admin, "host.drain", estate.north)
    assert (answer.status_code, answer.json()["target"]["host"]) == (201, estate.north.pk)
    assert answer.json()["vms"]["entries"][0]["fate"] == "waits"
    problem(ask(admin, "host.drain", estate.north), 409, "busy")
    problem(ask(admin, "host.activate", estate.south), 422, "already_active")
    make.vm("db-large", segment=estate.db, host=estate.south, memory_mib=64_000)
    problem(ask(admin, "host.drain", estate.south), 422, "drain_incomplete")
    problem(ask(admin, "host.drain", estate.north, unmovable="burn"), 400, "invalid", "params.unmovable")
    problem(admin.submit(estate.vm, "host.drain"), 400, "invalid", "target")


def drained(estate: Estate) -> tuple[Job, Job]:
    """A drain that has moved one VM and left another."""
    left = {str(estate.foreign.pk): ["device_tied", "a card"]}
    extent = {str(vm.pk): vm.segment_id for vm in (estate.vm, estate.foreign)}
    job = Job.objects.create(
        operation="host.drain", host=estate.north, target_name="north", requester_name="ada", state=State.FAILED,
        journal={"extent": extent, "left": left}, finished_at=timezone.now(),
    )  # fmt: skip
    part = make.job(
        estate.vm, by=make.user(), operation="vm.migrate", state=State.SUCCEEDED, parent=job, percent=100,
        params={"destination": estate.south.pk, "destination_name": "south"},
    )  # fmt: skip
    return job, part


def test_the_roster_tells_what_became_of_each(estate: Estate, admin: Caller, maintainer: Caller) -> None:
    job, part = drained(estate)
    roster = admin.get(f"jobs/{job.pk}/").json()["vms"]
    assert roster["hidden"] == 0
    assert [
        (one["vm"]["name"], one["fate"], one["job"], one["destination"], one["code"]) for one in roster["entries"]
    ] == [
        ("db-1", "left", None, "", "device_tied"),
        ("web-1", "done", str(part.pk), "south", ""),
    ]
    # Who may place VMs on the host sees the work on it, and of the VMs their own.
    roster = maintainer.get(f"jobs/{job.pk}/").json()["vms"]
    assert ([one["vm"]["name"] for one in roster["entries"]], roster["hidden"]) == (["web-1"], 1)
    assert admin.get(f"jobs/{part.pk}/").json()["vms"] is None


def test_a_part_names_its_parent_to_who_sees_it(estate: Estate, admin: Caller, viewer: Caller) -> None:
    job, part = drained(estate)
    assert admin.get(f"jobs/{part.pk}/").json()["parent"] == str(job.pk)
    assert viewer.get(f"jobs/{part.pk}/").json()["parent"] is None
    assert [one["parent"] for one in viewer.get("jobs/").json()["results"]] == [None]
    problem(viewer.get(f"jobs/{job.pk}/"), 404, "not_found")


def test_jobs_are_found_by_host_and_by_parent(estate: Estate, admin: Caller) -> None:
    job, part = drained(estate)
    assert [one["id"] for one in admin.get("jobs/", host=estate.north.pk).json()["results"]] == [str(job.pk)]
    assert [one["id"] for one in admin.get("jobs/", parent=str(job.pk)).json()["results"]] == [str(part.pk)]
    assert admin.get("jobs/", parent="x").status_code == 400


def test_a_list_of_parts_costs_the_same_for_one_and_for_many(
    estate: Estate, admin: Caller, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    job, _part = drained(estate)
    with django_assert_max_num_queries(12) as few:
        admin.get("jobs/", parent=str(job.pk))
    for _ in range(20):
        vm = make.vm(segment=estate.web, host=estate.south)
        make.job(vm, by=make.user(), operation="vm.migrate", state=State.SUCCEEDED, parent=job)
    with django_assert_num_queries(len(few.captured_queries)):
        admin.get("jobs/", parent=str(job.pk))
