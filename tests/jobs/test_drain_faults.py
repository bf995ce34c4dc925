"""What a drain and the way back meet: hosts that are away for a moment or for good, others' jobs, changed minds, and
somebody who tries to get more done by them than they might do themselves.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from access.errors import NotAllowed
from access.gate import SYSTEM
from access.models import User
from hypervisor.errors import HypervisorError
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.observing import Observing
from inventory.models import VM, Host
from jobs import sweeper
from jobs.approvals import approval_rules_set, job_approve
from jobs.errors import NotAdmitted
from jobs.models import Job
from jobs.operations.hosts import parts as parts_module
from jobs.operations.hosts.pace import MOST_AT_ONCE
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Fleet
from tests.jobs.crew import make_due, work

pytestmark = pytest.mark.django_db


def vm_named(name: str) -> VM:
    return VM.objects.get(name=name)


def unreachable(*names: str) -> None:
    Host.objects.filter(name__in=names).update(connection=Host.Connection.UNREACHABLE)


def passes(fleet: Fleet, job: Job, count: int) -> None:
    """So many looks of a job, without its parts being carried out."""
    for _ in range(count):
        fleet.estate.run(Job.objects.get(pk=job.pk))
        make_due()
        sweeper.sweep()


def migration_to(fleet: Fleet, name: str, host: Host) -> Job:
    return job_submit(
        actor=fleet.operator, operation="vm.migrate", target=vm_named(name), params={"destination": host.pk}
    )


# What is refused takes nobody's place


def test_vms_that_others_work_on_hold_up_no_others(fleet: Fleet) -> None:
    for name in ("ledger", "web-1", "web-2"):
        job_submit(actor=fleet.operator, operation="snapshot.create", target=vm_named(name), params={"name": "x"})
    job = fleet.drain()
    fleet.estate.run(job)
    assert job.parts.count() == 2
    assert set(job.parts.values_list("vm__name", flat=True)) <= {"web-3", "web-4"}


def test_newcomers_that_need_approval_are_told_and_the_job_ends(fleet: Fleet) -> None:
    approval_rules_set(actor=SYSTEM, segment=fleet.estate.segment, operations=["vm.migrate"])
    job = fleet.drain()
    job_approve(actor=make.user_with("platform-operator"), job=job)
    for number in range(3):
        fleet.add(f"a-newcomer-{number}")
    fleet.sync()
    VM.objects.filter(name__startswith="a-newcomer").update(segment=fleet.estate.segment)
    work(job)
    assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    assert len(job.parts.filter(state=State.SUCCEEDED)) == 5
    assert {code for code, _why in job.journal["left"].values()} == {"needs_approval"}


def test_a_rule_for_draining_alone_keeps_newcomers_where_they_are(fleet: Fleet) -> None:
    approval_rules_set(actor=SYSTEM, segment=fleet.estate.segment, operations=["host.drain"])
    job = fleet.drain()
    job_approve(actor=make.user_with("platform-operator"), job=job)
    fleet.add("newcomer")
    fleet.sync()
    VM.objects.filter(name="newcomer").update(segment=fleet.estate.segment)
    work(job)
    assert (job.state, fleet.running_on()["left"]) == (State.FAILED, ["newcomer"])


def test_a_host_that_is_away_keeps_its_vms_and_the_others_come_home(fleet: Fleet) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    on_right = set(VM.objects.filter(host=fleet.hosts[1]).values_list("name", flat=True))
    unreachable("right")
    job = work(fleet.activate())
    assert job.state == State.SUCCEEDED, job.error_message
    assert set(fleet.running_on()["left"]) == {"ledger", "web-1", "web-2", "web-3", "web-4"} - on_right
    assert job.result["left"] == len(on_right)
    assert {code for code, _why in job.journal["left"].values()} == {"host_offline"}


def test_who_may_not_place_on_a_host_brings_nothing_home_to_it(fleet: Fleet) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    person = make.user_with(make.role_of("operate_host"), fleet.estate.cluster)
    make.grant(person, "maintainer", fleet.estate.segment)
    with pytest.raises(NotAllowed):
        fleet.activate(by=person)
    assert work(fleet.activate(by=person, return_home=False)).state == State.SUCCEEDED


def test_the_cap_of_all_is_counted_again_when_a_slot_is_taken(fleet: Fleet, monkeypatch: Any) -> None:
    """Two jobs that look at the same time both see a free slot."""
    job = fleet.drain(at_once=5)
    counted, real = [], parts_module.all_under_way

    def first_sees_nothing() -> Any:
        counted.append(True)
        return [] if len(counted) == 1 else real()

    others = [make.vm(segment=fleet.estate.segment, host=fleet.hosts[1]) for _ in range(MOST_AT_ONCE)]
    for vm in others:
        params = {"destination": fleet.hosts[0].pk}
        make.job(vm, by=fleet.operator, operation="vm.migrate", state=State.RUNNING, params=params,
                 heartbeat_at=timezone.now())  # fmt: skip
    monkeypatch.setattr(parts_module, "all_under_way", first_sees_nothing)
    fleet.estate.run(job)
    assert (job.state, job.parts.count()) == (State.WAITING, 0)


# A moment's trouble costs nobody its run


def test_a_host_that_does_not_answer_for_a_moment_shuts_nothing_down(fleet: Fleet) -> None:
    job = fleet.drain(unmovable="shut_down", at_once=1)
    fleet.estate.run(job)
    fleet.estate.run(job.parts.get())
    unreachable("right", "third")
    passes(fleet, job, 1)
    assert not job.parts.filter(operation="vm.shutdown").exists()
    work(job)
    assert (job.state, job.result["moved"], job.result["shut_down"]) == (State.SUCCEEDED, 5, 0)


def test_hosts_that_stay_away_are_waited_for_and_then_told(fleet: Fleet, monkeypatch: Any) -> None:
    monkeypatch.setattr("jobs.operations.hosts.drain.facts_read", lambda context, host: False)
    monkeypatch.setattr("jobs.operations.hosts.parts.facts_read", lambda context, host: False)
    job = fleet.drain()
    fleet.estate.run(job)
    unreachable("right", "third")
    job_cancel(actor=fleet.operator, job=job.parts.first() or job)
    work(job)
    assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    assert "no_destination" in {code for code, _why in job.journal["left"].values()}


def test_a_full_destination_is_waited_for_while_something_moves(fleet: Fleet) -> None:
    """Memory that is taken already and promised still counts twice: nothing is decided by it."""
    Host.objects.filter(name="third").update(availability=Host.Availability.MAINTENANCE)
    job = fleet.drain(unmovable="shut_down", at_once=1)
    fleet.estate.run(job)
    Host.objects.filter(name="right").update(memory_free_mib=1300)
    passes(fleet, job, 6)
    assert not job.parts.filter(operation="vm.shutdown").exists()
    work(job)
    assert (job.state, job.result["shut_down"]) == (State.SUCCEEDED, 0)


def test_a_guest_that_its_host_cannot_tell_of_stays_and_the_others_go(fleet: Fleet, monkeypatch: Any) -> None:
    definition, broken = Observing.guest_definition, str(vm_named("web-1").uuid)

    def hidden(self: Any, uuid: str) -> Any:
        if uuid == broken:
            raise HypervisorError("the monitor of web-1 does not answer")
        return definition(self, uuid)

    monkeypatch.setattr(Observing, "guest_definition", hidden)
    job = fleet.drain()
    fleet.estate.run(job)
    assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    told = repr((job.error_message, job.result, list(job.steps.values_list("title", "detail"))))
    assert "web-1" not in told
    assert "monitor of web-1" in job.journal["left"][str(vm_named("web-1").pk)][1]


def test_a_host_that_cannot_tell_what_runs_on_it_is_asked_again(fleet: Fleet, monkeypatch: Any) -> None:
    job = fleet.drain(at_once=1)
    fleet.estate.run(job)
    real = Observing.list_guests
    monkeypatch.setattr(Observing, "list_guests", lambda self: (_ for _ in ()).throw(HypervisorError("ledger is odd")))
    fleet.estate.run(job.parts.get())
    fleet.estate.run(Job.objects.get(pk=job.pk))
    job.refresh_from_db()
    assert job.state == State.LOST
    assert "ledger" not in job.error_message
    monkeypatch.setattr(Observing, "list_guests", real)
    assert work(job).state == State.SUCCEEDED


# Nothing runs on a host in maintenance


def test_what_was_queued_before_does_not_arrive_afterwards(fleet: Fleet) -> None:
    elsewhere = simulated.create_guest("right", "late", memory_mib=512)
    fleet.sync()
    VM.objects.filter(uuid=elsewhere).update(segment=fleet.estate.segment)
    coming = migration_to(fleet, "late", fleet.hosts[0])
    job = fleet.drain()
    for _ in range(8):  # everything but the one that was queued before
        for one in Job.objects.filter(state=State.QUEUED).exclude(pk=coming.pk):
            fleet.estate.run(one)
        make_due()
        sweeper.sweep()
    assert Job.objects.get(pk=job.pk).state not in (State.SUCCEEDED, State.FAILED)
    coming = fleet.estate.run(Job.objects.get(pk=coming.pk))
    assert (coming.state, coming.error_code) == (State.FAILED, "host_in_maintenance")
    assert work(job).state == State.SUCCEEDED
    assert fleet.running_on()["left"] == []


def test_what_was_to_be_started_before_is_not_started_afterwards(fleet: Fleet) -> None:
    assert fleet.estate.do("vm.force_off").state == State.SUCCEEDED
    start = fleet.estate.submit("vm.start")
    job = fleet.drain()
    Host.objects.filter(pk=fleet.host.pk).update(availability=Host.Availability.DRAINING)
    start = fleet.estate.run(start)
    assert (start.state, start.error_code) == (State.FAILED, "host_in_maintenance")
    assert work(job).state == State.SUCCEEDED


# Four eyes


@pytest.fixture
def two_segments(fleet: Fleet) -> tuple[User, Any]:
    """web-4 is in another segment, which has a rule against shutting down; who may decide on the host and on the first
    one alone.
    """
    other = make.segment("other")
    VM.objects.filter(name="web-4").update(segment=other)
    approval_rules_set(actor=SYSTEM, segment=fleet.estate.segment, operations=["host.drain"])
    approval_rules_set(actor=SYSTEM, segment=other, operations=["vm.shutdown"])
    person = make.user_with("platform-operator", fleet.estate.cluster)
    make.grant(person, "owner", fleet.estate.segment)
    return person, other


def test_a_drain_that_may_shut_down_is_bound_by_the_rules_for_that(fleet: Fleet, two_segments: Any) -> None:
    person, other = two_segments
    job = fleet.drain(unmovable="shut_down")
    with pytest.raises(NotAllowed):
        job_approve(actor=person, job=job)
    assert fleet.drain().state == State.AWAITING_APPROVAL  # by the first segment's rule
    make.grant(person, "owner", other)
    assert job_approve(actor=person, job=job).state == State.QUEUED


def test_the_approver_is_not_told_of_vms_that_they_do_not_see(fleet: Fleet, two_segments: Any) -> None:
    person, _other = two_segments
    job = fleet.drain()
    VM.objects.filter(name="web-4").update(power_state="paused")
    with pytest.raises(NotAdmitted) as refused:
        job_approve(actor=person, job=job)
    assert refused.value.code == "drain_incomplete"
    assert "web-4" not in str(refused.value)


def test_a_vm_that_came_under_other_rules_since_is_not_covered(fleet: Fleet) -> None:
    approval_rules_set(actor=SYSTEM, segment=fleet.estate.segment, operations=["host.drain"])
    job = fleet.drain()
    job_approve(actor=make.user_with("platform-operator"), job=job)
    strict = make.segment()
    approval_rules_set(actor=SYSTEM, segment=strict, operations=["vm.migrate"])
    VM.objects.filter(name="web-4").update(segment=strict)
    work(job)
    assert fleet.running_on()["left"] == ["web-4"]


def test_a_list_that_grows_while_the_job_waits_covers_nothing(fleet: Fleet) -> None:
    approval_rules_set(actor=SYSTEM, segment=fleet.estate.segment, operations=["host.drain", "vm.migrate"])
    job = fleet.drain(at_once=1)
    job_approve(actor=make.user_with("platform-operator"), job=job)
    fleet.estate.run(Job.objects.get(pk=job.pk))
    fleet.add("newcomer")
    fleet.sync()
    VM.objects.filter(name="newcomer").update(segment=fleet.estate.segment)
    journal = Job.objects.get(pk=job.pk).journal
    journal["extent"][str(vm_named("newcomer").pk)] = fleet.estate.segment.pk
    Job.objects.filter(pk=job.pk).update(journal=journal)
    work(job)
    assert "newcomer" in fleet.running_on()["left"]


# Changed minds


def test_a_cancel_that_comes_during_a_look_is_seen_to_at_once(fleet: Fleet, monkeypatch: Any) -> None:
    from jobs.operations.hosts.parts import Parts

    job = fleet.drain(at_once=1)
    finish = Parts.wait_if_unfinished

    def cancelled_meanwhile(self: Parts) -> None:
        job_cancel(actor=fleet.operator, job=Job.objects.get(pk=job.pk))
        finish(self)

    monkeypatch.setattr(Parts, "wait_if_unfinished", cancelled_meanwhile)
    fleet.estate.run(job)
    assert job.state == State.QUEUED
    monkeypatch.setattr(Parts, "wait_if_unfinished", finish)
    assert work(job).state == State.CANCELLED
    assert not job.parts.exclude(state=State.CANCELLED).exists()


def test_a_cancel_between_the_look_and_the_claim_is_seen(fleet: Fleet, monkeypatch: Any) -> None:
    from jobs.engine import runner

    job, advance = fleet.drain(at_once=1), runner.advance
    fleet.estate.run(job)
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED)

    def cancelled_before(found: Job, to: State, **changes: Any) -> Job:
        job_cancel(actor=fleet.operator, job=Job.objects.get(pk=job.pk))
        return advance(found, to, **changes)

    monkeypatch.setattr(runner, "advance", cancelled_before)
    fleet.estate.run(job)
    monkeypatch.setattr(runner, "advance", advance)
    assert job.journal["stopping"][0] == "cancelled"


def test_a_cancelled_second_drain_leaves_the_host_as_it_was(fleet: Fleet) -> None:
    simulated.create_guest("left", "huge", memory_mib=2048)
    fleet.sync()
    VM.objects.update(segment=fleet.estate.segment)
    Host.objects.filter(name="third").update(availability=Host.Availability.MAINTENANCE)
    assert work(fleet.drain(unmovable="leave")).state == State.SUCCEEDED
    assert fleet.host.availability == Host.Availability.MAINTENANCE
    fleet.add("again")
    fleet.sync()
    job = fleet.drain(unmovable="leave")
    fleet.estate.run(job)
    assert not job.is_over
    job_cancel(actor=fleet.operator, job=Job.objects.get(pk=job.pk))
    assert work(job).state == State.CANCELLED
    assert fleet.host.availability == Host.Availability.MAINTENANCE


def test_an_activation_that_is_cancelled_before_anything_came_home_changes_nothing(fleet: Fleet) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    job = fleet.activate()
    fleet.estate.run(job)
    assert fleet.host.availability == Host.Availability.RESTORING
    job_cancel(actor=fleet.operator, job=Job.objects.get(pk=job.pk))
    assert work(job).state == State.CANCELLED
    assert fleet.host.availability == Host.Availability.MAINTENANCE
    assert work(fleet.activate()).result["returned"] == 5


def test_a_move_that_its_team_cancelled_is_no_reason_to_shut_it_down(fleet: Fleet) -> None:
    job = fleet.drain(unmovable="shut_down", at_once=1)
    fleet.estate.run(job)
    part = job.parts.get()
    job_cancel(actor=fleet.operator, job=part)
    work(job)
    assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    assert fleet.running_on()["left"] == [part.target_name]
    assert not job.parts.filter(operation="vm.shutdown").exists()
