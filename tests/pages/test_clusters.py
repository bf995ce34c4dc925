"""A cluster's page: loads, rules, the plan and its button; what a reader without the rights is shown of them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from inventory.models import VM, ApprovalRule, Cluster, Host, Load, PlacementRule
from jobs.models import Job, Look
from jobs.operations.rebalance.proposal import propose, written
from jobs.states import State
from portal.pages.cluster_load import host_loads, spreads
from tests import factories as make
from tests.pages.conftest import Estate, browser, seen

pytestmark = pytest.mark.django_db


@pytest.fixture
def uneven(estate: Estate) -> list[VM]:
    """Three VMs on the northern host that use five of its sixteen cores each."""
    now = timezone.now()
    vms = [make.vm(f"ledger-batch-{number}", segment=estate.ledger, host=estate.north) for number in range(3)]
    for vm in vms:
        Load.objects.create(vm=vm, host=estate.north, cpu_time_ns=0, observed_at=now, since=now, cpu_cores=5.0)
    return vms


def detail(client: Client, estate: Estate) -> Any:
    return seen(client.get(reverse("cluster-detail", args=[estate.cluster.pk])))


def run(client: Client, cluster: Cluster, **fields: Any) -> Any:
    return client.post(reverse("cluster-rebalance", args=[cluster.pk]), {"key": str(uuid4())} | fields)


def test_the_page_shows_loads_the_plan_and_one_button(operator: Client, estate: Estate, uneven: list[VM]) -> None:
    Host.objects.filter(pk=estate.north.pk).update(reserved_mib=2048)
    page = detail(operator, estate)
    assert "15.0 of 16 cores" in page.text
    assert "of 64.0 GiB, 2.0 kept" in page.text
    assert "CPU: fullest 47 % over the mean" in page.text
    assert "If any one host failed, its VMs would find a place" in page.text
    assert "ledger-batch-0 north-1 to south-1." in page.text
    assert "Makes the hosts more evenly used." in page.text
    assert "Run this plan" in page.text


def test_one_click_runs_the_plan(operator: Client, estate: Estate, uneven: list[VM]) -> None:
    answer = run(operator, estate.cluster)
    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, reverse("job-detail", args=[job.pk]))
    assert (job.operation, job.params["mode"], job.params["policy"]) == ("cluster.rebalance", "run", "")
    page = detail(operator, estate)
    assert "Run this plan" not in page.text
    assert "Rebalance baltic" in page.text


def test_an_approval_is_announced_and_asked_for(operator: Client, estate: Estate, uneven: list[VM]) -> None:
    ApprovalRule.objects.create(segment=estate.ledger, operation="vm.migrate")
    form = seen(operator.get(reverse("cluster-rebalance", args=[estate.cluster.pk])))
    assert "approv" in form.text
    run(operator, estate.cluster, most_moves="1")
    job = Job.objects.get()
    assert (job.state, job.params["most_moves"]) == (State.AWAITING_APPROVAL, 1)


def test_what_cannot_be_is_refused_at_the_form(operator: Client, estate: Estate, uneven: list[VM]) -> None:
    Cluster.objects.update(shared_storage=False)
    answer = run(operator, estate.cluster)
    assert (answer.status_code, "no shared storage" in seen(answer).text) == (422, True)


def test_who_only_places_vms_sees_loads_and_rules_but_no_plan(
    maintainer: Client, estate: Estate, uneven: list[VM]
) -> None:
    make.placement_rule(estate.cluster, uneven[0], estate.foreign, name="pair")
    page = detail(maintainer, estate)
    assert "15.0 of 16 cores" in page.text
    assert "ledger-batch-0 and 1 that you do not see" in page.text
    for word in ("Run this plan", "What would be moved", "New rule", "payroll-secret"):
        assert word not in page.text


def test_a_plan_names_nobody_whom_its_reader_does_not_see(estate: Estate, uneven: list[VM]) -> None:
    keeper = browser(make.user_with("platform-operator", estate.cluster))
    operator = make.user_with("platform-operator")
    found = propose(operator, estate.cluster)
    make.placement_rule(estate.cluster, *uneven, name="trio")  # three VMs, two hosts: it cannot be had
    page = detail(keeper, estate)
    assert "3 VMs are to be on a host each" in page.text
    assert "and 3 that you do not see" in page.text
    job = Job.objects.create(
        operation="cluster.rebalance", cluster=estate.cluster, target_name="baltic", requested_by=operator,
        requester_name=operator.username, state=State.SUCCEEDED, params={"mode": "advise"}, result=found.figures,
        finished_at=timezone.now(), journal={"plan": written(found)},
    )  # fmt: skip
    of_job = seen(keeper.get(reverse("job-detail", args=[job.pk])))
    assert found.moves
    assert f"Moves advised {len(found.moves)}" in of_job.text
    assert "that you do not see" in of_job.text
    Job.objects.filter(pk=job.pk).update(params={"mode": "run"}, state=State.WAITING, finished_at=None)
    running = seen(keeper.get(reverse("job-detail", args=[job.pk])))
    for told in (page, of_job, running):
        assert "ledger-batch" not in told.text


def test_rules_are_set_and_lifted_with_what_they_take(operator: Client, estate: Estate, uneven: list[VM]) -> None:
    address = reverse("placement-rule-new", args=[estate.cluster.pk])
    pair = {"name": "pair", "kind": "apart", "vms": [uneven[0].pk, uneven[1].pk]}
    answer = operator.post(address, pair | {"segment": estate.ledger.pk})
    assert (answer.status_code, "does not take that" in seen(answer).text) == (400, True)
    assert operator.post(address, pair).status_code == 302
    assert operator.post(address, pair).status_code == 400
    rule = PlacementRule.objects.get()
    assert set(rule.vms.all()) == {uneven[0], uneven[1]}
    assert "pair apart ledger-batch-0, ledger-batch-1" in detail(operator, estate).text
    lift = reverse("placement-rule-lift", args=[estate.cluster.pk, rule.pk])
    assert operator.post(lift, {"reason": "no longer"}).status_code == 302
    assert not PlacementRule.objects.exists()


def test_a_rule_of_another_cluster_is_not_lifted_here(operator: Client, estate: Estate) -> None:
    rule = make.placement_rule(make.cluster(), kind="never_beside", segment=estate.ledger, other_segment=estate.payroll)
    lift = reverse("placement-rule-lift", args=[estate.cluster.pk, rule.pk])
    assert operator.post(lift, {"reason": "no longer"}).status_code == 404
    assert PlacementRule.objects.exists()


def test_a_form_offers_what_its_user_sees_and_no_more(estate: Estate) -> None:
    keeper = make.user_with("platform-operator", estate.cluster)
    make.grant(keeper, "viewer", estate.ledger)
    form = seen(browser(keeper).get(reverse("placement-rule-new", args=[estate.cluster.pk])))
    assert "ledger-app" in form.text
    assert "payroll" not in form.text.lower()


def test_the_mode_is_set_and_its_advice_shown_where_it_is_looked_for(operator: Client, estate: Estate) -> None:
    address = reverse("cluster-balancing", args=[estate.cluster.pk])
    assert operator.post(address, {"balancing": "advise"}).status_code == 302
    Look.objects.create(cluster=estate.cluster, looked_at=timezone.now(), planned=2, verdict="Uneven.")
    assert "2 moves advised" in detail(operator, estate).text
    assert "Cluster baltic is used unevenly; 2 moves advised." in seen(operator.get(reverse("dashboard"))).text
    assert operator.post(address, {"balancing": "off"}).status_code == 302
    assert "advised" not in detail(operator, estate).text
    assert "used unevenly" not in seen(operator.get(reverse("dashboard"))).text


def test_what_a_host_keeps_is_set_on_its_page(operator: Client, estate: Estate) -> None:
    address = reverse("host-reserve", args=[estate.north.pk])
    assert operator.post(address, {"reserved_mib": "1000000"}).status_code == 400
    assert operator.post(address, {"reserved_mib": "2048"}).status_code == 302
    assert "2 GiB" in seen(operator.get(reverse("host-detail", args=[estate.north.pk]))).text


def test_a_cluster_without_a_host_says_so(operator: Client) -> None:
    page = seen(operator.get(reverse("cluster-detail", args=[make.cluster("empty").pk])))
    assert "No host of empty is active and answers." in page.text


def test_bars_and_spreads_are_within_their_bounds(estate: Estate) -> None:
    (load, _other) = host_loads([estate.north, estate.south], None)
    assert (load.cpu, load.memory) == (None, None)
    assert [spread.is_strained for spread in spreads((0.5, 0.0))] == [True, False]
