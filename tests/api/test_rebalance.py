"""Balancing by the API: rules, modes, the plan, a job's result, and who may know what of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from inventory.models import VM, ApprovalRule, Cluster, Host, Load
from jobs.models import Job
from jobs.operations.rebalance.proposal import propose, written
from jobs.states import State
from tests import factories as make
from tests.api.conftest import Caller, Estate, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def uneven(estate: Estate) -> list[VM]:
    """Three VMs on the north host that use six of its sixteen cores each."""
    Cluster.objects.update(shared_storage=True)
    vms = [make.vm(f"busy-{number}", segment=estate.web, host=estate.north) for number in range(3)]
    now = timezone.now()
    for vm in vms:
        Load.objects.create(vm=vm, host=estate.north, cpu_time_ns=0, observed_at=now, since=now, cpu_cores=6.0)
    return vms


@pytest.fixture
def keeper(estate: Estate) -> Caller:
    """Operates the cluster, and sees none of its VMs."""
    return Caller(make.user_with("platform-operator", estate.cluster))


def ask(caller: Caller, cluster: Cluster, **params: Any) -> Any:
    body = {"operation": "cluster.rebalance", "target": {"cluster": cluster.pk}, "params": params}
    return caller.post("jobs/", body)


def test_the_plan_says_what_would_move_why_and_at_what_cost(estate: Estate, admin: Caller, uneven: list[VM]) -> None:
    plan = admin.get(f"clusters/{estate.cluster.pk}/rebalance-plan/").json()
    assert plan["moves"]
    for move in plan["moves"]:
        assert move["vm"]["name"].startswith("busy-")
        assert (move["source"]["name"], move["destination"]["name"]) == ("north", "south")
        assert move["gain"] > 0
        assert move["sent_gib"] > 0
    assert plan["after"]["imbalance"] < plan["before"]["imbalance"]
    assert (plan["hidden"], plan["needs_approval"]) == (0, False)
    assert plan["unknown_loads"] == VM.objects.filter(load=None, host__cluster=estate.cluster).count()
    ApprovalRule.objects.create(segment=estate.web, operation="vm.migrate")
    assert admin.get(f"clusters/{estate.cluster.pk}/rebalance-plan/").json()["needs_approval"] is True


def test_the_plan_is_for_who_operates_the_cluster_and_names_what_they_see(
    estate: Estate, keeper: Caller, maintainer: Caller, viewer: Caller, uneven: list[VM]
) -> None:
    address = f"clusters/{estate.cluster.pk}/rebalance-plan/"
    problem(viewer.get(address), 404, "not_found")
    problem(maintainer.get(address), 403, "not_allowed")
    answer = keeper.get(address)
    assert answer.json()["moves"] == []
    assert answer.json()["before"]["over_mean"]["CPU"] > 0.5  # it counts, though they may not move it
    assert "busy-" not in answer.content.decode()


def test_a_result_names_what_its_reader_sees(estate: Estate, admin: Caller, keeper: Caller, uneven: list[VM]) -> None:
    answer = ask(admin, estate.cluster)
    assert (answer.status_code, answer.json()["target"]["cluster"]) == (201, estate.cluster.pk)
    problem(ask(admin, estate.cluster), 409, "busy")
    problem(ask(admin, estate.cluster, mode="guess"), 400, "invalid")
    job = Job.objects.get(pk=answer.json()["id"])
    found = propose(admin.user, estate.cluster)
    Job.objects.filter(pk=job.pk).update(
        state=State.SUCCEEDED, result=found.figures, journal={"plan": written(found)}, finished_at=timezone.now()
    )
    told = admin.get(f"jobs/{job.pk}/").json()
    assert [move["vm"]["name"] for move in told["result"]["moves"]] == [move.vm.name for move in found.moves]
    assert told["result"]["planned"] == len(found.moves)
    assert told["vms"] is None
    other = keeper.get(f"jobs/{job.pk}/")
    assert (other.json()["result"]["moves"], other.json()["result"]["hidden"]) == ([], len(found.moves))
    Job.objects.filter(pk=job.pk).update(params={"mode": "run"})
    assert [entry["fate"] for entry in admin.get(f"jobs/{job.pk}/").json()["vms"]["entries"]] == ["left"] * len(
        found.moves
    )
    assert keeper.get(f"jobs/{job.pk}/").json()["vms"] == {"entries": [], "hidden": len(found.moves)}
    assert "busy-" not in other.content.decode()


def test_what_a_cluster_cannot_do_is_refused(estate: Estate, admin: Caller) -> None:
    problem(ask(admin, estate.cluster), 422, "storage_not_shared")
    Host.objects.filter(pk=estate.south.pk).update(connection=Host.Connection.UNREACHABLE)
    problem(ask(admin, estate.cluster), 422, "too_few_hosts")


def test_a_rule_is_set_listed_and_lifted(estate: Estate, admin: Caller, keeper: Caller, viewer: Caller) -> None:
    other = make.vm("web-2", segment=estate.web, host=estate.north)
    body = {"cluster": estate.cluster.pk, "name": "pair", "kind": "apart", "vms": [estate.vm.pk, str(other.uuid)]}
    answer = admin.post("placement-rules/", body)
    assert answer.status_code == 201
    made = answer.json()
    assert [vm["name"] for vm in made["vms"]] == ["web-1", "web-2"]
    assert made["hidden"] == 0
    assert answer.headers["Location"].endswith(f"/placement-rules/{made['id']}/")
    problem(admin.post("placement-rules/", body), 400, "invalid")
    problem(admin.post("placement-rules/", body | {"name": "b", "kind": "only_on"}), 400, "invalid")
    problem(keeper.post("placement-rules/", body | {"name": "c"}), 404, "not_found")  # VMs that they do not see
    placer = Caller(make.user_with("placement", estate.cluster))
    about_nothing = {"cluster": estate.cluster.pk, "name": "d", "kind": "apart"}
    problem(placer.post("placement-rules/", about_nothing), 403, "not_allowed")
    problem(keeper.post("placement-rules/", about_nothing), 400, "invalid")
    problem(viewer.post("placement-rules/", about_nothing), 404, "not_found")
    (seen,) = keeper.get("placement-rules/").json()["results"]
    assert (seen["name"], seen["vms"], seen["hidden"]) == ("pair", [], 2)
    assert admin.get(f"placement-rules/?cluster={estate.cluster.name}").json()["count"] == 1
    assert admin.get("placement-rules/?cluster=0").json()["count"] == 0
    assert viewer.get("placement-rules/").json()["count"] == 0
    problem(viewer.get(f"placement-rules/{made['id']}/"), 404, "not_found")
    assert keeper.delete(f"placement-rules/{made['id']}/").status_code == 204
    assert admin.get("placement-rules/").json()["count"] == 0


def test_a_rule_keeps_a_migration_off_a_host(estate: Estate, admin: Caller) -> None:
    rule = make.placement_rule(
        estate.cluster, kind="only_on", segment=estate.web, hosts=[estate.north], name="north only"
    )
    assert admin.get(f"placement-rules/{rule.pk}/").json()["segment"]["name"] == estate.web.name
    params = {"destination": estate.south.pk}
    body = {"operation": "vm.migrate", "target": {"vm": estate.vm.pk}, "params": params}
    refused = problem(admin.post("jobs/", body), 422, "placement_rule")
    assert "“north only”" in refused["detail"]


def test_modes_and_what_a_host_keeps(estate: Estate, admin: Caller, maintainer: Caller) -> None:
    answer = admin.patch(f"clusters/{estate.cluster.pk}/", {"balancing": "automatic"})
    assert (answer.status_code, answer.json()["balancing"]) == (200, "automatic")
    problem(admin.patch(f"clusters/{estate.cluster.pk}/", {"balancing": "wild"}), 400, "invalid")
    problem(maintainer.patch(f"clusters/{estate.cluster.pk}/", {"balancing": "off"}), 403, "not_allowed")
    answer = admin.patch(f"hosts/{estate.north.pk}/", {"reserved_mib": 4096})
    assert (answer.status_code, answer.json()["reserved_mib"]) == (200, 4096)
    problem(admin.patch(f"hosts/{estate.north.pk}/", {"reserved_mib": -1}), 400, "invalid")
    problem(maintainer.patch(f"hosts/{estate.north.pk}/", {"reserved_mib": 1}), 403, "not_allowed")


def test_a_list_of_rules_costs_the_same_for_one_and_for_many(
    estate: Estate, admin: Caller, django_assert_max_num_queries: Any
) -> None:
    for _ in range(12):
        make.placement_rule(estate.cluster, *(make.vm(host=estate.north) for _ in range(3)))
    with django_assert_max_num_queries(20):
        assert admin.get("placement-rules/").json()["count"] == 12


def test_an_old_look_at_a_load_is_none(estate: Estate, admin: Caller, uneven: list[VM]) -> None:
    Load.objects.update(observed_at=timezone.now() - timedelta(hours=1))
    plan = admin.get(f"clusters/{estate.cluster.pk}/rebalance-plan/").json()
    assert plan["moves"] == []
    assert plan["unknown_loads"] >= 3
