"""A host is emptied and comes back, on a simulated estate of three hosts: plan, parts, caps, refusals, ends."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from access.gate import SYSTEM
from access.models import Effect, Grant
from access.services.grants import grant_revoke
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.types import PowerState
from inventory.models import VM, Host
from jobs.errors import InvalidRequest, NotAdmitted, TargetBusy
from jobs.models import Job, JobLock
from jobs.operations.hosts.pace import MOST_AT_ONCE, MOST_INTO_A_HOST, MOST_OUT_OF_A_HOST
from jobs.operations.hosts.survey import outlook
from jobs.services import job_cancel, job_submit
from jobs.states import LEASED, State
from tests import factories as make
from tests.jobs.conftest import Fleet
from tests.jobs.crew import work

pytestmark = pytest.mark.django_db


def test_everything_moves_and_the_host_is_in_maintenance(fleet: Fleet) -> None:
    assert fleet.estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    job = work(fleet.drain())
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result == {"moved": 5, "shut_down": 0, "left": 0, "off": 0}
    running = fleet.running_on()
    assert running["left"] == []
    assert sorted(running["right"] + running["third"]) == ["ledger", "web-1", "web-2", "web-3", "web-4"]
    assert abs(len(running["right"]) - len(running["third"])) == 1  # levelled
    assert fleet.host.availability == Host.Availability.MAINTENANCE
    assert not JobLock.objects.exists()
    there = connect(next(host for host in fleet.hosts if "ledger" in running[host.name]).uri)
    assert [snapshot.name for snapshot in there.list_snapshots(str(fleet.estate.vm.uuid))] == ["base"]
    assert {part.requested_by for part in job.parts.all()} == {fleet.operator}


def test_the_record_tells_who_emptied_it_and_each_move(fleet: Fleet) -> None:
    job = work(fleet.drain())
    changed = AuditEvent.objects.filter(action=EventAction.HOST_CHANGED).order_by("pk")
    assert [(event.actor_name, event.before, event.after) for event in changed] == [
        (fleet.operator.username, {"availability": "active"}, {"availability": "draining"}),
        (fleet.operator.username, {"availability": "draining"}, {"availability": "maintenance"}),
    ]
    submitted = AuditEvent.objects.filter(action=EventAction.JOB_SUBMITTED, job_id=str(job.pk))
    assert submitted.count() == 5
    waits = AuditEvent.objects.filter(action=EventAction.JOB_WAITS, object_id=str(job.pk))
    assert waits.exists()


def test_the_caps_hold_all_the_way(fleet: Fleet) -> None:
    most: Counter[str] = Counter()

    def look() -> None:
        moving = Job.objects.active().filter(operation="vm.migrate")
        coming = Counter(part.params["destination"] for part in moving)
        leaving = Counter(part.vm.host_id for part in moving if part.vm)
        most["all"] = max(most["all"], len(moving))
        most["out"] = max(most["out"], *leaving.values(), 0)
        most["in"] = max(most["in"], *coming.values(), 0)

    assert work(fleet.drain(), meanwhile=look).state == State.SUCCEEDED
    assert most["out"] == MOST_OUT_OF_A_HOST
    assert most["in"] <= MOST_INTO_A_HOST
    most.clear()
    assert work(fleet.activate(at_once=1), meanwhile=look).state == State.SUCCEEDED
    assert (most["in"], most["all"]) == (1, 1)


def test_more_at_once_never_pass_the_cap_of_all(fleet: Fleet) -> None:
    seen = []

    def look() -> None:
        seen.append(Job.objects.active().filter(operation="vm.migrate").count())

    assert work(fleet.drain(at_once=5), meanwhile=look).state == State.SUCCEEDED
    assert max(seen) == min(MOST_AT_ONCE, 2 * MOST_INTO_A_HOST)


def test_the_parent_holds_its_host_but_no_worker_while_it_waits(fleet: Fleet) -> None:
    job = fleet.drain()
    fleet.estate.run(job)
    assert (job.state, job.parts.count()) == (State.WAITING, 2)
    assert not Job.objects.filter(state__in=LEASED).exists()
    assert JobLock.objects.filter(resource=f"host:{fleet.host.pk}", job=job).exists()
    with pytest.raises(TargetBusy):
        fleet.drain()
    assert fleet.host.availability == Host.Availability.DRAINING


def test_a_part_that_ends_during_a_pass_wakes_its_parent_at_once(fleet: Fleet, monkeypatch: Any) -> None:
    """The parent has looked already, and does not wait yet: nobody would wake it for this one."""
    from jobs.engine.context import JobContext

    job = fleet.drain(at_once=1)
    submit, ended = JobContext.submit_part, []

    def submitted_and_done(context: JobContext, *request: Any, **more: Any) -> Job:
        part = submit(context, *request, **more)
        if not ended:
            ended.append(part)
            fleet.estate.run(part)
        return part

    monkeypatch.setattr(JobContext, "submit_part", submitted_and_done)
    fleet.estate.run(job)
    assert ended[0].state == State.SUCCEEDED
    assert job.state == State.QUEUED


def test_what_is_off_stays_and_is_not_started_there_meanwhile(fleet: Fleet) -> None:
    assert fleet.estate.do("vm.force_off").state == State.SUCCEEDED
    job = work(fleet.drain())
    assert job.result == {"moved": 4, "shut_down": 0, "left": 0, "off": 1}
    with pytest.raises(NotAdmitted) as refused:
        fleet.estate.submit("vm.start")
    assert refused.value.code == "host_in_maintenance"
    assert work(fleet.activate()).state == State.SUCCEEDED
    assert fleet.estate.do("vm.start").state == State.SUCCEEDED


def test_a_host_that_is_emptied_takes_no_vm(fleet: Fleet) -> None:
    fleet.estate.run(fleet.drain(at_once=1))
    away = VM.objects.get(name="web-1")
    Host.objects.filter(pk=fleet.hosts[1].pk).update(availability=Host.Availability.MAINTENANCE)
    with pytest.raises(NotAdmitted) as refused:
        job_submit(actor=fleet.operator, operation="vm.migrate", target=away, params={"destination": "right"})
    assert refused.value.code == "host_in_maintenance"


# What cannot move


def test_a_plan_with_a_vm_that_cannot_move_is_refused_with_the_reason_before_anything_moves(fleet: Fleet) -> None:
    Host.objects.filter(name__in=["right", "third"]).update(memory_free_mib=2600)
    with pytest.raises(NotAdmitted) as refused:
        fleet.drain()
    assert refused.value.code == "drain_incomplete"
    assert "has the 1280 MiB that" in str(refused.value)
    assert not Job.objects.exists()
    assert fleet.host.availability == Host.Availability.ACTIVE


def test_what_the_hosts_themselves_say_against_it_ends_it_before_anything_moves(fleet: Fleet) -> None:
    job = fleet.drain()
    stray = simulated.create_guest("left", "stray", memory_mib=1024)
    simulated.set_state("left", stray, PowerState.PAUSED, reason=_user())
    fleet.estate.run(job)
    assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    assert not job.parts.exists()
    assert fleet.host.availability == Host.Availability.ACTIVE
    found = VM.objects.get(name="stray")
    assert job.journal["left"][str(found.pk)][0] == "vm_not_running"


def _user() -> Any:
    from hypervisor.types import StateReason

    return StateReason.USER


def test_a_vm_that_may_stay_stays_and_one_that_may_be_shut_down_is(fleet: Fleet) -> None:
    make.grant(fleet.operator, make.role_of("migrate"), VM.objects.get(name="web-1"), effect=Effect.DENY)
    _deny_only_migrate(fleet)
    with pytest.raises(NotAdmitted, match="Migrate"):
        fleet.drain()
    job = work(fleet.drain(unmovable="leave"))
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result == {"moved": 4, "shut_down": 0, "left": 1, "off": 0}
    assert fleet.running_on()["left"] == ["web-1"]
    job = work(fleet.drain(unmovable="shut_down"))
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result == {"moved": 0, "shut_down": 1, "left": 0, "off": 1}
    assert fleet.running_on()["left"] == []
    job = work(fleet.activate())
    assert job.result == {"returned": 4, "started": 1, "left": 0}
    assert len(fleet.running_on()["left"]) == 5


def _deny_only_migrate(fleet: Fleet) -> None:
    """A role of just these actions has VIEW too, and VIEW denied would hide the VM."""
    from access.models import Role

    grant = Grant.objects.get(user=fleet.operator, effect=Effect.DENY)
    grant_revoke(actor=SYSTEM, grant=grant)
    role = Role.objects.create(slug="no-migrate", name="no-migrate", actions=["migrate"])
    make.grant(fleet.operator, role, VM.objects.get(name="web-1"), effect=Effect.DENY)


def test_vms_that_the_asker_does_not_see_are_counted_and_not_named(fleet: Fleet) -> None:
    hidden = make.segment()
    VM.objects.filter(name="web-3").update(segment=hidden)
    person = make.user_with("platform-operator", fleet.estate.cluster)
    make.grant(person, "maintainer", fleet.estate.segment)
    with pytest.raises(NotAdmitted) as refused:
        fleet.drain(by=person)
    assert "also something of others running on it (1 VM)" in str(refused.value)
    assert "web-3" not in str(refused.value)
    job = work(fleet.drain(by=person, unmovable="leave"))
    assert job.state == State.SUCCEEDED, job.error_message
    assert (job.result["moved"], job.result["left"]) == (4, 1)
    told = repr((job.params, job.result, job.error_message, list(job.steps.values_list("title", "detail"))))
    assert "web-" not in told


def test_only_hosts_on_which_the_asker_may_place_are_planned_with(fleet: Fleet) -> None:
    person = make.user_with(make.role_of("operate_host"), fleet.host)
    make.grant(person, "placement", fleet.hosts[1])
    make.grant(person, "viewer", fleet.hosts[2])
    make.grant(person, "maintainer", fleet.estate.segment)
    found = outlook(person, fleet.host)
    assert {host.name for _vm, host in found.moves} == {"right"}
    Host.objects.filter(name="right").update(memory_free_mib=1300)
    found = outlook(person, fleet.host)
    assert (len(found.moves), len(found.stuck)) == (1, 4)


def test_a_vm_that_fails_is_tried_again_elsewhere_and_then_told(fleet: Fleet, monkeypatch: Any) -> None:
    from hypervisor.errors import HypervisorError
    from hypervisor.simulated_driver.migrating import Migrating

    web, migrate, tried = VM.objects.get(name="web-2"), Migrating.migrate, []

    def fails_for_one(self: Any, uuid: str, destination_uri: str, spec: Any) -> None:
        if uuid == str(web.uuid):
            tried.append(destination_uri)
            raise HypervisorError("the link broke")
        migrate(self, uuid, destination_uri, spec)

    monkeypatch.setattr(Migrating, "migrate", fails_for_one)
    job = work(fleet.drain())
    assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    assert "1 VM could not leave left" in job.error_message
    assert len(tried) == 3
    assert len(set(tried)) == 2
    assert job.journal["left"][str(web.pk)][0] == "hypervisor_error"
    assert fleet.running_on()["left"] == ["web-2"]
    assert fleet.host.availability == Host.Availability.DRAINING
    monkeypatch.setattr(Migrating, "migrate", migrate)
    assert work(fleet.drain()).state == State.SUCCEEDED
    assert fleet.running_on()["left"] == []


def test_a_newcomer_is_moved_too(fleet: Fleet) -> None:
    job = fleet.drain()
    fleet.estate.run(job)
    simulated.create_guest("left", "newcomer", memory_mib=512)
    work(job)
    assert job.state == State.SUCCEEDED, job.error_message
    assert fleet.running_on()["left"] == []


def test_a_vm_that_another_job_holds_is_waited_for(fleet: Fleet) -> None:
    held = fleet.estate.submit("snapshot.create", name="one")
    job = fleet.drain()
    for _ in range(3):
        fleet.estate.run(Job.objects.get(pk=job.pk))
        for part in job.parts.filter(state=State.QUEUED):
            fleet.estate.run(part)
    job.refresh_from_db()
    assert not job.is_over
    fleet.estate.run(held)
    assert work(job).state == State.SUCCEEDED
    assert fleet.running_on()["left"] == []


# Stopping


def test_a_cancelled_drain_keeps_what_moved_and_the_host_is_active_again(fleet: Fleet) -> None:
    job = fleet.drain(at_once=1)
    fleet.estate.run(job)
    fleet.estate.run(job.parts.get())
    fleet.estate.run(Job.objects.get(pk=job.pk))
    assert job.parts.count() == 2
    job_cancel(actor=fleet.operator, job=Job.objects.get(pk=job.pk))
    work(job)
    assert (job.state, job.error_code) == (State.CANCELLED, "cancelled")
    assert fleet.operator.username in job.error_message
    assert "1 VM had moved" in job.error_message
    assert fleet.host.availability == Host.Availability.ACTIVE
    assert sorted(job.parts.values_list("state", flat=True)) == [State.CANCELLED, State.SUCCEEDED]
    assert len(fleet.running_on()["left"]) == 4
    assert not JobLock.objects.exists()


@pytest.mark.parametrize("lost", ["operate", "migrate"])
def test_rights_are_asked_with_every_pass(fleet: Fleet, lost: str) -> None:
    person = make.user()
    make.grant(person, "platform-operator", fleet.estate.cluster)
    make.grant(person, "maintainer", fleet.estate.segment)
    job = fleet.drain(by=person, at_once=1)
    fleet.estate.run(job)
    gone = {"operate": {"cluster": fleet.estate.cluster}, "migrate": {"segment": fleet.estate.segment}}[lost]
    grant_revoke(actor=SYSTEM, grant=Grant.objects.get(user=person, **gone))
    work(job)
    if lost == "operate":
        assert (job.state, job.error_code) == (State.CANCELLED, "right_withdrawn")
        assert fleet.host.availability == Host.Availability.ACTIVE
    else:  # nothing that they may move is left
        assert (job.state, job.error_code) == (State.FAILED, "drain_incomplete")
    assert len(fleet.running_on()["left"]) == 5
    assert not JobLock.objects.exists()


# Coming back


def test_what_was_moved_comes_home_and_what_was_given_another_place_does_not(fleet: Fleet) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    moved = VM.objects.get(name="web-1")
    to = next(host for host in fleet.hosts[1:] if host.pk != moved.host_id)
    job_submit(actor=fleet.operator, operation="vm.migrate", target=moved, params={"destination": to.pk})
    work(Job.objects.get(vm=moved, parent=None))
    job = work(fleet.activate())
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result == {"returned": 4, "started": 0, "left": 0}
    assert fleet.running_on()["left"] == ["ledger", "web-2", "web-3", "web-4"]
    assert fleet.host.availability == Host.Availability.ACTIVE


def test_nothing_comes_home_when_nobody_wants_it(fleet: Fleet) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    job = work(fleet.activate(return_home=False))
    assert job.result == {"returned": 0, "started": 0, "left": 0}
    assert fleet.running_on()["left"] == []
    # and what an earlier drain had sent away is not fetched by a later activation
    assert work(fleet.drain()).state == State.SUCCEEDED
    assert work(fleet.activate()).result == {"returned": 0, "started": 0, "left": 0}


def test_a_home_without_room_takes_those_that_fit(fleet: Fleet) -> None:
    assert work(fleet.drain()).state == State.SUCCEEDED
    simulated.create_guest("left", "squatter", memory_mib=_free(fleet) - 3000)
    fleet.sync()
    job = work(fleet.activate())
    assert job.state == State.SUCCEEDED
    assert (job.result["returned"], job.result["left"]) == (2, 3)


def _free(fleet: Fleet) -> int:
    fleet.sync()
    return fleet.host.memory_free_mib


def test_what_is_so_already_is_refused(fleet: Fleet) -> None:
    with pytest.raises(NotAdmitted) as refused:
        fleet.activate()
    assert refused.value.code == "already_active"
    assert work(fleet.drain()).state == State.SUCCEEDED
    with pytest.raises(NotAdmitted) as refused:
        fleet.drain()
    assert refused.value.code == "already_in_maintenance"
    Host.objects.update(connection=Host.Connection.UNREACHABLE)
    for ask in (fleet.activate, fleet.drain):
        with pytest.raises(NotAdmitted) as refused:
            ask()
        assert refused.value.code == "host_offline"


@pytest.mark.parametrize(
    "params",
    [{"unmovable": "kill"}, {"at_once": 0}, {"at_once": 6}, {"policy": "fast"}, {"destination": 1}, {"at_once": True}],
)
def test_a_malformed_request_is_refused(fleet: Fleet, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        fleet.drain(**params)
    with pytest.raises(InvalidRequest):
        job_submit(actor=fleet.operator, operation="host.drain", target=fleet.estate.vm)
