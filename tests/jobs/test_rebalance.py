"""A cluster is balanced, on a simulated estate of three hosts: advice, moves, rights, rules, what has changed since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.gate import SYSTEM
from access.models import Effect, Grant
from access.services.grants import grant_revoke
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.simulated_driver import faults
from hypervisor.simulated_driver.faults import Fault
from inventory.models import VM, ApprovalRule, Cluster, Host, Load
from inventory.services.placement import placement_rule_create
from jobs.errors import InvalidRequest, NotAdmitted
from jobs.models import Job, JobLock
from jobs.operations.hosts.survey import Obstacle
from jobs.operations.rebalance import operation
from jobs.operations.rebalance.proposal import propose
from jobs.operations.rebalance.reading import read
from jobs.roster import Fate, roster
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Fleet
from tests.jobs.crew import work

pytestmark = pytest.mark.django_db

#: The simulated hosts have 32 CPUs: four VMs that use 7 each fill one to seven eighths.
BUSY = 7.0


def uses(cores: float, *names: str) -> None:
    """These VMs were observed to use so many cores, and will be as long as the test runs."""
    now = timezone.now()
    for vm in VM.objects.filter(name__in=names):
        facts = {"cpu_cores": cores, "cpu_time_ns": 0, "observed_at": now + timedelta(minutes=10), "since": now}
        Load.objects.update_or_create(vm=vm, defaults={"host": vm.host, **facts})


def rebalance(fleet: Fleet, *, by: Any = None, **params: Any) -> Job:
    return job_submit(
        actor=by or fleet.operator, operation="cluster.rebalance", target=Cluster.objects.get(), params=params
    )


def whole(fleet: Fleet) -> None:
    everything = sorted(name for names in fleet.running_on().values() for name in names)
    assert everything == ["ledger", "web-1", "web-2", "web-3", "web-4"]
    assert not JobLock.objects.exists()


@pytest.fixture
def crowded(fleet: Fleet) -> Fleet:
    uses(BUSY, "web-1", "web-2", "web-3", "web-4")
    uses(0.1, "ledger")
    return fleet


def test_advice_has_no_effect_and_says_what_would_move_and_why(crowded: Fleet) -> None:
    job = work(rebalance(crowded))
    assert job.state == State.SUCCEEDED, job.error_message
    assert not job.parts.exists()
    assert not AuditEvent.objects.filter(action=EventAction.EFFECT_INTENT).exists()
    result = job.result
    assert result["planned"] == len(job.journal["plan"]["moves"]) >= 2
    assert result["after"]["imbalance"] < result["before"]["imbalance"] / 2
    assert result["sent_gib"] > 0
    assert result["before"]["over_mean"]["CPU"] > 0.5
    assert "over the mean of CPU" in result["verdict"]
    for move in job.journal["plan"]["moves"]:
        assert move["source"] == crowded.host.pk
        assert "CPU" in move["reason"]
    assert "web" not in str(result)  # names are not for everybody who sees the cluster
    assert len(crowded.running_on()["left"]) == 5


def test_a_run_moves_one_after_the_other_and_ends_even(crowded: Fleet) -> None:
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, Job.objects.active().filter(operation="vm.migrate").count())

    job = work(rebalance(crowded, mode="run"), meanwhile=look)
    assert job.state == State.SUCCEEDED, job.error_message
    assert most == 1
    assert (job.result["moved"], job.result["left"]) == (job.result["planned"], 0)
    assert job.result["reached"]["fullest"]["CPU"] == job.result["after"]["fullest"]["CPU"]
    assert {part.requested_by for part in job.parts.all()} == {crowded.operator}
    per_host = sorted(sum(name != "ledger" for name in names) for names in crowded.running_on().values())
    assert per_host == [1, 1, 2]
    whole(crowded)
    order = [part.vm_id for part in job.parts.order_by("created_at")]
    assert order == [move["vm"] for move in job.journal["plan"]["moves"]]
    again = work(rebalance(crowded, mode="run"))
    assert (again.state, again.result["planned"], again.result["moved"]) == (State.SUCCEEDED, 0, 0)
    assert "even enough" in again.result["verdict"] or "no moves were found" in again.result["verdict"]


def test_nothing_to_do_is_said_with_the_reason(fleet: Fleet) -> None:
    uses(0.1, "ledger", "web-1", "web-2", "web-3", "web-4")
    job = work(rebalance(fleet, mode="run"))
    assert job.state == State.SUCCEEDED
    assert job.result["moved"] == 0
    assert "even enough to leave as it is" in job.result["verdict"]


def test_no_more_moves_than_are_wanted(crowded: Fleet) -> None:
    job = work(rebalance(crowded, mode="run", most_moves=1))
    assert (job.state, job.result["planned"], job.result["moved"]) == (State.SUCCEEDED, 1, 1)
    assert "the first 1" in job.result["verdict"]


def test_what_it_is_asked_for_is_checked(crowded: Fleet) -> None:
    for params in ({"mode": "guess"}, {"most_moves": 0}, {"colour": "red"}, {"policy": "rude"}):
        with pytest.raises(InvalidRequest):
            rebalance(crowded, **params)
    Cluster.objects.update(shared_storage=False)
    with pytest.raises(NotAdmitted, match="no shared storage"):
        rebalance(crowded)
    Cluster.objects.update(shared_storage=True)
    Host.objects.exclude(pk=crowded.host.pk).update(availability=Host.Availability.MAINTENANCE)
    with pytest.raises(NotAdmitted, match="not two hosts"):
        rebalance(crowded)


def test_rules_are_kept_and_what_breaks_one_is_put_right(fleet: Fleet) -> None:
    uses(0.1, "ledger", "web-1", "web-2", "web-3", "web-4")
    vms = list(VM.objects.filter(name__in=["web-1", "web-2"]))
    placement_rule_create(actor=SYSTEM, cluster=fleet.estate.cluster, name="pair", kind="apart", vms=vms)
    job = work(rebalance(fleet, mode="run"))
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["moved"] == 1
    assert job.journal["plan"]["moves"][0]["code"] == "beside_rival"
    at = {vm.name: vm.host_id for vm in VM.objects.all()}
    assert at["web-1"] != at["web-2"]


def test_fellows_move_together_to_a_host_that_is_theirs(fleet: Fleet) -> None:
    uses(0.1, "ledger", "web-1", "web-2", "web-3", "web-4")
    apart = make.segment()
    vms = list(VM.objects.filter(name__in=["web-1", "web-2"]))
    VM.objects.filter(pk__in=[vm.pk for vm in vms]).update(segment=apart)
    cluster = fleet.estate.cluster
    placement_rule_create(actor=SYSTEM, cluster=cluster, name="pair", kind="together", vms=vms)
    placement_rule_create(
        actor=SYSTEM, cluster=cluster, name="home", kind="only_on", segment=apart, hosts=[fleet.hosts[2]]
    )
    job = work(rebalance(fleet, mode="run"))
    assert job.state == State.SUCCEEDED, (job.error_message, job.journal["left"])
    assert job.result["moved"] == 2
    assert fleet.running_on()["third"] == ["web-1", "web-2"]


def test_what_no_placement_brings_about_is_said(fleet: Fleet) -> None:
    uses(0.1, "ledger", "web-1", "web-2", "web-3", "web-4")
    vms = list(VM.objects.filter(name__startswith="web-"))
    placement_rule_create(actor=SYSTEM, cluster=fleet.estate.cluster, name="four", kind="apart", vms=vms)
    job = work(rebalance(fleet))
    proved = [one for one in job.result["unmet"] if one["impossible"]]
    assert [(one["code"], one["vms"]) for one in proved] == [("apart_too_many", 4)]
    assert sorted(job.journal["plan"]["unmet"][0]["vms"]) == sorted(vm.pk for vm in vms)


# Rights


def test_who_may_not_migrate_a_vm_does_not_move_it_and_it_counts(crowded: Fleet) -> None:
    vm = VM.objects.get(name="web-1")
    make.grant(crowded.operator, make.role_of("migrate"), vm, effect=Effect.DENY)
    job = work(rebalance(crowded, mode="run"))
    assert job.state == State.SUCCEEDED, job.error_message
    assert vm.pk not in {move["vm"] for move in job.journal["plan"]["moves"]}
    assert job.result["before"]["over_mean"]["CPU"] > 0.5
    vm.refresh_from_db()
    assert vm.host == crowded.hosts[0]


def test_who_sees_nothing_moves_nothing_and_is_told_no_name(crowded: Fleet) -> None:
    keeper = make.user_with(make.role_of("operate_host", "place"), crowded.estate.cluster)
    job = work(rebalance(crowded, by=keeper, mode="run"))
    assert (job.state, job.result["planned"]) == (State.SUCCEEDED, 0)
    full = work(rebalance(crowded))
    seen = roster(keeper, full)
    assert (seen.entries, seen.hidden) == ([], full.result["planned"])
    told = roster(crowded.operator, full)
    assert {entry.fate for entry in told.entries} == {Fate.LEFT}


def test_no_vm_goes_where_one_may_not_place(crowded: Fleet) -> None:
    make.grant(crowded.operator, make.role_of("place"), crowded.hosts[1], effect=Effect.DENY)
    job = work(rebalance(crowded, mode="run"))
    assert job.state == State.SUCCEEDED, job.error_message
    assert {move["destination"] for move in job.journal["plan"]["moves"]} == {crowded.hosts[2].pk}
    assert crowded.running_on()["right"] == []


def test_an_approval_is_asked_for_the_vms_that_would_move(crowded: Fleet) -> None:
    ApprovalRule.objects.create(segment=crowded.estate.segment, operation="vm.migrate")
    assert rebalance(crowded).state == State.QUEUED  # advice touches nothing
    job_cancel(actor=SYSTEM, job=Job.objects.get())
    job = rebalance(crowded, mode="run")
    assert job.state == State.AWAITING_APPROVAL
    assert set(job.extent) == {move.vm.pk for move in propose(crowded.operator, crowded.estate.cluster).moves}


# What changes meanwhile


def at_first_part(then: Callable[[], object]) -> Callable[[], None]:
    """Does something once, as soon as the first migration is queued."""
    done: list[bool] = []

    def look() -> None:
        if not done and Job.objects.filter(operation="vm.migrate").exists():
            done.append(True)
            then()

    return look


def test_a_cancel_keeps_what_moved(crowded: Fleet) -> None:
    job = rebalance(crowded, mode="run")

    def stop() -> None:
        part = Job.objects.filter(parent=job, state=State.SUCCEEDED).first()
        if part is not None and Job.objects.get(pk=job.pk).cancel_requested_at is None:
            job_cancel(actor=crowded.operator, job=job)

    work(job, meanwhile=stop)
    assert job.state == State.CANCELLED
    assert "1 VM had moved" in job.error_message
    assert len(crowded.running_on()["left"]) == 4
    whole(crowded)


def test_a_right_that_is_withdrawn_stops_it(crowded: Fleet) -> None:
    job = rebalance(crowded, mode="run")
    grant = Grant.objects.get(user=crowded.operator)
    work(job, meanwhile=at_first_part(lambda: grant_revoke(actor=SYSTEM, grant=grant)))
    assert job.state == State.CANCELLED
    assert job.error_code == "right_withdrawn"
    whole(crowded)


def test_a_rule_that_came_in_the_middle_takes_the_ground_from_a_move(crowded: Fleet) -> None:
    job = rebalance(crowded, mode="run")

    def forbid() -> None:
        placement_rule_create(
            actor=SYSTEM, cluster=crowded.estate.cluster, name="stay", kind="only_on", segment=crowded.estate.segment,
            hosts=[crowded.hosts[0]],
        )  # fmt: skip

    work(job, meanwhile=at_first_part(forbid))
    assert job.state == State.SUCCEEDED, job.error_message
    assert (job.result["moved"], job.result["left"]) == (0, job.result["planned"])
    assert {part.error_code for part in job.parts.all()} == {"placement_rule"}
    assert {tuple(found) for found in job.journal["left"].values()} == {
        ("ground_gone", "The destination takes no VMs any more, or is not permitted to it.")
    }
    assert crowded.running_on()["left"] == ["ledger", "web-1", "web-2", "web-3", "web-4"]


def test_a_move_whose_reason_is_gone_is_left_out_and_said(crowded: Fleet) -> None:
    job = rebalance(crowded, mode="run")
    work(job, meanwhile=at_first_part(lambda: uses(0.0, "web-1", "web-2", "web-3", "web-4")))
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["moved"] == 1
    assert job.result["left"] == job.result["planned"] - 1 > 0
    assert {code for code, _why in job.journal["left"].values()} == {"ground_gone"}
    entries = roster(crowded.operator, job).entries
    assert sorted(entry.fate for entry in entries) == sorted([Fate.DONE] + [Fate.LEFT] * job.result["left"])
    assert all("more even" in entry.why for entry in entries if entry.fate is Fate.LEFT)


def test_a_vm_that_is_moved_by_hand_meanwhile_is_let_be(crowded: Fleet) -> None:
    job = rebalance(crowded, mode="run")

    def by_hand() -> None:
        last = VM.objects.get(pk=propose(SYSTEM, crowded.estate.cluster).moves[-1].vm.pk)
        params = {"destination": crowded.hosts[1].pk}
        job_submit(actor=SYSTEM, operation="vm.migrate", target=last, params=params)

    work(job, meanwhile=at_first_part(by_hand))
    assert job.state == State.SUCCEEDED, job.error_message
    assert set(code for code, _why in job.journal["left"].values()) <= {"ground_gone", "vm_busy"}
    whole(crowded)


def test_a_migration_that_fails_is_told_and_the_others_go_on(crowded: Fleet) -> None:
    first = propose(SYSTEM, crowded.estate.cluster).moves[0]
    faults.plant(Fault.MIGRATION_FAILS, "left", str(first.vm.uuid), times=3)
    job = work(rebalance(crowded, mode="run"))
    assert (job.state, job.error_code) == (State.FAILED, "rebalance_incomplete")
    assert job.parts.filter(vm=first.vm, state=State.FAILED).count() == 3
    assert job.result["moved"] == job.result["planned"] - 1
    assert list(job.journal["left"]) == [str(first.vm.pk)]
    assert "1 could not" in job.error_message
    whole(crowded)


def test_what_a_host_objects_to_is_planned_otherwise(crowded: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = propose(SYSTEM, crowded.estate.cluster).moves[0].vm.pk
    monkeypatch.setattr(
        operation,
        "hosts_object",
        lambda context, vm, source, to: Obstacle("device_tied", "It is tied.") if vm.pk == tied else None,
    )
    job = work(rebalance(crowded))
    assert tied not in {move["vm"] for move in job.journal["plan"]["moves"]}
    assert job.result["planned"] >= 2
    assert job.result["objections"] >= 1


def test_a_silent_host_is_left_out_with_what_it_runs(crowded: Fleet) -> None:
    Host.objects.filter(pk=crowded.hosts[2].pk).update(connection=Host.Connection.UNREACHABLE)
    reading = read(SYSTEM, crowded.estate.cluster)
    assert reading is not None
    assert [host.name for host in reading.hosts] == ["left", "right"]


def test_a_cluster_is_read_by_as_many_statements_whatever_its_size(
    crowded: Fleet, django_assert_max_num_queries: Any
) -> None:
    make.vms(200, host=crowded.hosts[0], segment=crowded.estate.segment)
    with django_assert_max_num_queries(12):
        reading = read(crowded.operator, crowded.estate.cluster)
    assert reading is not None
    assert len(reading.vms) == 205
    assert reading.unknown == 200
