"""Placement rules hold wherever a VM is placed: at admission, in the job, in the choice of hosts, in drains."""

from __future__ import annotations

from typing import Any

import pytest

from access.gate import SYSTEM
from hypervisor.simulated_driver import estate as simulated
from inventory.models import VM, Host
from inventory.services.placement import host_set_reserved, placement_rule_create, placement_rule_delete
from jobs.engine import runner
from jobs.errors import NotAdmitted
from jobs.models import Job
from jobs.operations.hosts.survey import outlook
from jobs.operations.migrate.destinations import destinations_for
from jobs.operations.migrate.surroundings import Surroundings
from jobs.services import job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate, Fleet
from tests.jobs.crew import work

pytestmark = pytest.mark.django_db


def rule(fleet: Fleet, kind: str, *names: str, **parts: Any) -> Any:
    vms = list(VM.objects.filter(name__in=names))
    return placement_rule_create(
        actor=SYSTEM, cluster=fleet.estate.cluster, name=f"{kind} rule", kind=kind, vms=vms, **parts
    )


def place(fleet: Fleet, name: str, host: int) -> None:
    """Put a guest elsewhere, by a migration that nothing forbids yet."""
    vm = VM.objects.get(name=name)
    job = fleet.estate.run(migrate(fleet, vm, host))
    assert job.state == State.SUCCEEDED, job.error_message


def migrate(fleet: Fleet, vm: VM, host: int) -> Job:
    params = {"destination": fleet.hosts[host].pk}
    return job_submit(actor=fleet.operator, operation="vm.migrate", target=vm, params=params)


def names(hosts: Any) -> set[str]:
    return {host.name for host in hosts}


def test_a_rival_is_refused_at_the_door_and_its_host_not_offered(fleet: Fleet) -> None:
    place(fleet, "web-1", 1)
    rule(fleet, "apart", "web-1", "web-2")
    vm = VM.objects.get(name="web-2")
    assert names(destinations_for(fleet.operator, vm)) == {"third"}
    with pytest.raises(NotAdmitted, match="apart rule") as refused:
        migrate(fleet, vm, 1)
    assert refused.value.code == "placement_rule"
    assert "web-1" not in str(refused.value)
    assert names(destinations_for(fleet.operator, VM.objects.get(name="web-3"))) == {"right", "third"}
    assert fleet.estate.run(migrate(fleet, vm, 2)).state == State.SUCCEEDED


def test_what_is_on_its_way_counts_where_it_goes(fleet: Fleet) -> None:
    rule(fleet, "apart", "web-1", "web-2")
    migrate(fleet, VM.objects.get(name="web-1"), 1)  # queued
    with pytest.raises(NotAdmitted, match="apart rule"):
        migrate(fleet, VM.objects.get(name="web-2"), 1)


def test_a_rule_that_came_since_is_found_by_the_jobs_own_check(fleet: Fleet) -> None:
    first = migrate(fleet, VM.objects.get(name="web-1"), 1)
    second = migrate(fleet, VM.objects.get(name="web-2"), 1)
    rule(fleet, "apart", "web-1", "web-2")
    for job in (second, first):  # neither is in its own way; the later one is in the earlier one's no more than that
        runner.run(job.pk)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == (State.SUCCEEDED, State.FAILED)
    assert second.error_code == "placement_rule"
    assert "apart rule" in second.error_message


def test_a_segment_keeps_to_its_hosts(fleet: Fleet) -> None:
    rule(fleet, "only_on", segment=fleet.estate.segment, hosts=fleet.hosts[:2])
    vm = VM.objects.get(name="web-1")
    assert names(destinations_for(fleet.operator, vm)) == {"right"}
    with pytest.raises(NotAdmitted, match="only_on rule"):
        migrate(fleet, vm, 2)
    VM.objects.filter(pk=vm.pk).update(segment=make.segment())
    vm.refresh_from_db()
    assert names(destinations_for(fleet.operator, vm)) == {"right", "third"}


def test_segments_are_not_put_side_by_side(fleet: Fleet) -> None:
    other = make.segment()
    place(fleet, "web-1", 1)
    VM.objects.filter(name="web-1").update(segment=other)
    rule(fleet, "never_beside", segment=fleet.estate.segment, other_segment=other)
    with pytest.raises(NotAdmitted, match="never_beside rule"):
        migrate(fleet, VM.objects.get(name="web-2"), 1)
    VM.objects.filter(name="web-1").update(power_state="shut_off")
    assert migrate(fleet, VM.objects.get(name="web-2"), 1).state == State.QUEUED  # what is off is in nobody's way


def test_fellows_do_not_part(fleet: Fleet) -> None:
    rule(fleet, "together", "web-1", "web-2")
    with pytest.raises(NotAdmitted, match="together rule"):
        migrate(fleet, VM.objects.get(name="web-1"), 1)
    assert not names(destinations_for(fleet.operator, VM.objects.get(name="web-1")))


def test_a_vm_is_started_where_it_stands(estate: Estate) -> None:
    rival = make.vm(host=estate.hosts[0], segment=estate.segment)
    placement_rule_create(actor=SYSTEM, cluster=estate.cluster, name="r", kind="apart", vms=[estate.vm, rival])
    assert estate.do("vm.shutdown").state == State.SUCCEEDED
    assert estate.do("vm.start").state == State.SUCCEEDED


def test_a_drain_keeps_rivals_apart_and_fellows_together(fleet: Fleet) -> None:
    rule(fleet, "apart", "web-1", "web-2")
    rule(fleet, "together", "web-3", "web-4", "ledger")
    job = work(fleet.drain())
    assert job.state == State.SUCCEEDED, job.error_message
    at = {vm.name: vm.host_id for vm in VM.objects.all()}
    assert at["web-1"] != at["web-2"]
    assert at["web-3"] == at["web-4"] == at["ledger"]
    job = work(fleet.activate())
    assert job.state == State.SUCCEEDED, job.error_message
    assert {"ledger", "web-3", "web-4"} < set(fleet.running_on()["left"])


def test_what_a_rule_leaves_no_place_is_said_with_the_rule(fleet: Fleet) -> None:
    rule(fleet, "apart", "web-1", "web-2", "web-3")
    plan = outlook(fleet.operator, fleet.host)
    ((vm, obstacle),) = plan.stuck.values()
    assert vm.name in {"web-1", "web-2", "web-3"}
    assert obstacle.code == "placement_rule"
    assert "“apart rule”" in obstacle.why
    with pytest.raises(NotAdmitted, match="apart rule"):
        fleet.drain()
    job = work(fleet.drain(unmovable="leave"))
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["left"] == 1
    assert job.journal["left"][str(vm.pk)][0] == "placement_rule"


def test_the_way_home_keeps_the_rules(fleet: Fleet) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    set_since = rule(fleet, "apart", "web-1", "web-2")
    job = work(fleet.activate())
    assert job.state == State.SUCCEEDED, job.error_message
    at = {vm.name: vm.host_id for vm in VM.objects.all()}
    assert at["web-1"] != at["web-2"]
    assert job.result["left"] == 1
    assert [code for code, _why in job.journal["left"].values()] == ["placement_rule"]
    placement_rule_delete(actor=SYSTEM, rule=set_since)


def test_what_a_host_keeps_is_not_for_vms(fleet: Fleet) -> None:
    right = Host.objects.get(name="right")
    vm = VM.objects.get(name="web-1")
    job = migrate(fleet, vm, 1)
    host_set_reserved(actor=SYSTEM, host=right, mib=right.memory_free_mib - 512)
    assert names(destinations_for(fleet.operator, VM.objects.get(name="web-2"))) == {"third"}
    with pytest.raises(NotAdmitted, match=" 0 MiB left"):
        migrate(fleet, VM.objects.get(name="web-2"), 1)
    runner.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.FAILED, "memory_short")


def test_a_cluster_without_rules_costs_one_statement(estate: Estate, django_assert_num_queries: Any) -> None:
    simulated.create_guest("left", "another")
    with django_assert_num_queries(1):
        assert Surroundings.of(estate.cluster.pk).objection(estate.vm, estate.hosts[1].pk) is None
