"""Canaries between hosts: what they prove, what a broken path means, and that none is left behind or taken for a VM."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.gate import SYSTEM
from audit.events import EventAction, Outcome
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.driver import SimulatedHypervisor
from hypervisor.simulated_driver.faults import Fault, clear, plant
from hypervisor.simulated_driver.store import open_store
from hypervisor.types import PowerState
from inventory.errors import InventoryConflict
from inventory.models import VM, Cluster, Host, HostPair, SeenChange
from inventory.paths import path_between, path_observed
from inventory.services.hosts import host_create
from inventory.syncing import guest_read, host_sync
from jobs.errors import NotAdmitted, TargetBusy
from jobs.models import Job, JobLock, Step
from jobs.operations.hosts import paths
from jobs.operations.migrate.destinations import destinations_for
from jobs.proving import due_hosts, prove_due
from jobs.retiring import host_retire
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate, Fleet
from tests.jobs.crew import work
from tests.jobs.reaper import Killed, Reaper, mortal_work, points


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db):
    """A worker's threads see only what was committed."""


def prove(estate: Estate, *, by: Any = SYSTEM, host: int = 0) -> Job:
    return job_submit(actor=by, operation="host.prove_paths", target=Host.objects.get(pk=estate.hosts[host].pk))


def canaries(estate: Estate) -> list[str]:
    """Names of the canaries that are on any host now, by the hosts themselves."""
    return [
        guest.name
        for host in estate.hosts
        for guest in connect(host.uri).list_guests()
        if guest.name.startswith("slipway-canary-")
    ]


def test_both_ways_are_proved_and_nothing_is_left(estate: Estate) -> None:
    job = estate.run(prove(estate))
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.result == {"proved": 2, "broken": 0, "unproved": 0}
    left, right = estate.hosts
    for source, destination in ((left, right), (right, left)):
        pair = path_between(source, destination)
        assert pair.was_proved_within(timedelta(minutes=1))
        assert pair.seconds is not None
        assert pair.seconds < 30
    assert canaries(estate) == []
    assert not JobLock.objects.exists()
    titles = [step.title for step in Step.objects.filter(job=job)]
    assert titles == ["Prove the path to another host, 1 of 1", "Prove the path from another host, 1 of 1"]


def test_storage_is_proved_along_and_then_needs_no_declaration(estate: Estate) -> None:
    Cluster.objects.update(shared_storage=False)
    refused = estate.do("vm.migrate")
    assert (refused.state, refused.error_code) == (State.FAILED, "storage_not_shared")
    job = estate.run(prove(estate))
    assert job.state == State.SUCCEEDED, job.error_message
    assert all(pair.shared == ["/var/lib/libvirt/images"] for pair in HostPair.objects.all())
    moved = estate.do("vm.migrate")
    assert moved.state == State.SUCCEEDED, moved.error_message


def test_hosts_that_do_not_see_each_others_files_share_nothing(estate: Estate) -> None:
    simulated.create_hosts([simulated.SimulatedHost("apart", cluster="elsewhere")])
    apart = host_create(actor=SYSTEM, name="apart", uri="sim://apart/", cluster=estate.cluster)
    host_sync(apart)
    job = estate.run(job_submit(actor=SYSTEM, operation="host.prove_paths", target=Host.objects.get(pk=apart.pk)))
    assert job.state == State.SUCCEEDED, job.error_message
    assert job.result["proved"] == 4
    assert [pair.shared for pair in HostPair.objects.all()] == [[], [], [], []]


def test_a_path_that_is_broken_is_told_and_the_others_are_proved(estate: Estate) -> None:
    plant(Fault.MIGRATION_REFUSED, "left")
    job = estate.run(prove(estate))
    assert (job.state, job.error_code) == (State.FAILED, "path_broken")
    assert job.error_message.startswith("No canary got through on 1 of 2 paths; the page of left says which")
    assert job.result == {"proved": 1, "broken": 1, "unproved": 0}
    left, right = estate.hosts
    assert path_between(left, right).is_broken
    assert path_between(left, right).why.startswith("The host left would not migrate")
    assert not path_between(right, left).is_broken
    assert canaries(estate) == []
    outcomes = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_OUTCOME).order_by("pk")
    assert [(event.detail["call"], event.outcome) for event in outcomes] == [
        ("prove_path", Outcome.FAILED), ("force_off", Outcome.OK), ("prove_storage", Outcome.OK),
        ("prove_path", Outcome.OK), ("prove_storage", Outcome.OK),
    ]  # fmt: skip
    again = estate.run(prove(estate))
    assert again.state == State.SUCCEEDED
    assert not path_between(left, right).is_broken


@pytest.mark.parametrize("fault", [Fault.MIGRATION_REFUSED, Fault.HOST_DOWN])
def test_who_sees_one_host_is_told_of_no_other_and_nothing_that_it_said(estate: Estate, fault: Fault) -> None:
    job = prove(estate)
    plant(fault, "right")
    job = estate.run(job)
    assert job.state == State.FAILED
    told = [job.error_message, str(job.result), *(step.title + step.detail for step in job.steps.all())]
    assert "right" not in " ".join(told)
    clear()


def test_no_vm_is_sent_over_a_broken_path(estate: Estate) -> None:
    left, right = estate.hosts
    assert list(destinations_for(estate.user, estate.vm)) == [right]
    waiting = estate.submit("vm.migrate", destination=right.pk)
    path_observed(path_between(left, right), ok=False, why="no route")
    late = estate.run(waiting)
    assert (late.state, late.error_code) == (State.FAILED, "path_broken")
    assert list(destinations_for(estate.user, estate.vm)) == []
    with pytest.raises(NotAdmitted) as refused:
        estate.submit("vm.migrate", destination=right.pk)
    assert refused.value.code == "path_broken"
    path_observed(path_between(left, right), ok=True, seconds=1.0)
    assert estate.do("vm.migrate").state == State.SUCCEEDED


def test_what_is_known_of_the_path_is_told_with_its_age(estate: Estate) -> None:
    left, right = estate.hosts
    first = estate.do("vm.migrate_preview")
    assert Step.objects.get(job=first, name="path").detail == "not proved yet"
    path_observed(path_between(left, right), ok=True, seconds=1.0)
    HostPair.objects.update(proved_at=timezone.now() - timedelta(hours=3, minutes=5))
    second = estate.do("vm.migrate_preview")
    assert Step.objects.get(job=second, name="path").detail == "proved 3\xa0hours ago"


def test_a_canary_is_no_vm_and_raises_no_alarm(estate: Estate) -> None:
    left, right = estate.hosts
    pair = path_between(left, right)
    connection = connect(left.uri)
    connection.canary_start(str(pair.canary))
    host_sync(left, slow=True)
    guest_read(left, connection, str(pair.canary))
    assert not VM.objects.filter(uuid=pair.canary).exists()
    assert not SeenChange.objects.exists()


def test_only_what_is_like_a_canary_passes_for_one(estate: Estate) -> None:
    left, right = estate.hosts
    pair = path_between(left, right)
    simulated.create_guest("left", "slipway-canary-impostor", memory_mib=512)
    simulated.create_guest("left", "hidden", uuid=str(pair.canary), memory_mib=16)  # small, but not transient
    host_sync(left)
    assert VM.objects.filter(name="slipway-canary-impostor").exists()
    assert VM.objects.filter(name="hidden").exists()


def test_a_canary_left_by_a_crash_is_taken_away_by_the_next(estate: Estate) -> None:
    left, right = estate.hosts
    pair = path_between(left, right)
    for host in estate.hosts:
        connect(host.uri).canary_start(str(pair.canary))
    job = estate.run(prove(estate))
    assert job.state == State.SUCCEEDED, job.error_message
    assert canaries(estate) == []


@pytest.mark.parametrize("call", ["canary_start", "migrate", "force_off"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_in_the_middle_leaves_nothing_once_the_job_is_taken_up(
    estate: Estate, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    job, original = prove(estate), getattr(SimulatedHypervisor, call)

    def dies(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            original(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(SimulatedHypervisor, call, dies)
    with pytest.raises(Killed):
        estate.run(job)
    monkeypatch.setattr(SimulatedHypervisor, call, original)
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    job = work(job)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.result["proved"] == 2
    assert canaries(estate) == []
    assert connect(estate.hosts[0].uri).guest_state(str(estate.vm.uuid)).state is PowerState.RUNNING


def test_a_worker_that_dies_anywhere_leaves_nothing_once_the_job_is_taken_up(estate: Estate, reaper: Reaper) -> None:
    for point in points(reaper, 1):
        job = mortal_work(prove(estate), reaper)
        assert (job.state, job.result["proved"]) == (State.SUCCEEDED, 2), (point, job.error_message)
        assert canaries(estate) == []
        assert not markers()
        assert not JobLock.objects.exists()
    assert point > 20


def markers() -> list[Any]:
    """What is left in the simulated pools."""
    return open_store().connection().execute("SELECT name FROM volumes").fetchall()


def test_a_host_that_does_not_answer_says_nothing_about_the_path(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prove(estate)
    plant(Fault.HOST_DOWN, "right")
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.FAILED, "path_unproved")
    assert HostPair.objects.filter(ok=None).count() == 2
    clear()


def test_who_proves_sees_the_hosts_on_which_they_may_place(estate: Estate) -> None:
    keeper = make.user()
    make.grant(keeper, "platform-operator", estate.hosts[0])
    with pytest.raises(NotAdmitted) as refused:
        prove(estate, by=keeper)
    assert refused.value.code == "no_other_host"
    make.grant(keeper, "placement", estate.hosts[1])
    assert estate.run(prove(estate, by=keeper)).state == State.SUCCEEDED


def test_one_job_at_a_time_in_a_cluster(estate: Estate) -> None:
    prove(estate)
    with pytest.raises(TargetBusy):
        prove(estate, host=1)


def test_no_host_is_removed_while_canaries_travel_in_its_cluster(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, refused = paths._sent, []

    def removing(*facts: Any) -> Any:
        if not refused:
            with pytest.raises(InventoryConflict) as conflict:
                host_retire(actor=SYSTEM, host=Host.objects.get(name="right"))
            refused.append(str(conflict.value))
        return sent(*facts)

    monkeypatch.setattr(paths, "_sent", removing)
    job = estate.run(prove(estate))
    assert (job.state, job.traceback) == (State.SUCCEEDED, "")
    assert "paths of its cluster are being proved" in refused[0]
    assert canaries(estate) == []
    host_retire(actor=SYSTEM, host=Host.objects.get(name="right"))


# -- without being asked -----------------------------------------------------------------------------------------------


def test_a_new_host_is_proved_once_it_answers_and_again_after_a_day(estate: Estate) -> None:
    assert prove_due() == 1
    assert prove_due() == 0
    job = Job.objects.get(operation="host.prove_paths")
    assert (job.requested_by, job.host) == (None, estate.hosts[0])
    assert work(job).state == State.SUCCEEDED
    assert prove_due() == 0
    past = timezone.now() - timedelta(days=1, minutes=1)
    HostPair.objects.update(proved_at=past)
    Job.objects.update(created_at=past)
    assert prove_due() == 1


def test_which_host_is_due() -> None:
    now = timezone.now()
    hosts = [Host(pk=pk, name=str(pk)) for pk in (1, 2)]

    def pair(source: int, destination: int, age: timedelta, *, ok: bool = True) -> HostPair:
        return HostPair(source_id=source, destination_id=destination, ok=ok, proved_at=now - age)

    fresh = [pair(1, 2, timedelta(hours=23)), pair(2, 1, timedelta(hours=23))]
    assert due_hosts(hosts, fresh, {}, now) == []
    assert due_hosts(hosts[:1], [], {}, now) == []
    assert due_hosts(hosts, fresh[:1], {}, now) == hosts
    assert due_hosts(hosts, [fresh[0], pair(2, 1, timedelta(hours=24))], {}, now) == hosts
    assert due_hosts(hosts, [fresh[0], pair(2, 1, timedelta(minutes=59), ok=False)], {}, now) == []
    assert due_hosts(hosts, [fresh[0], pair(2, 1, timedelta(hours=1), ok=False)], {}, now) == hosts
    assert due_hosts(hosts, [], {1: now - timedelta(minutes=59)}, now) == [hosts[1]]
    assert due_hosts(hosts, [], {1: now - timedelta(hours=1)}, now) == hosts


# -- before a drain ----------------------------------------------------------------------------------------------------


def test_a_drain_has_its_paths_proved_first(fleet: Fleet) -> None:
    HostPair.objects.update(proved_at=timezone.now() - paths.LATELY)
    job = work(fleet.drain())
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    proving = job.parts.get(operation="host.prove_paths")
    moves = job.parts.filter(operation="vm.migrate")
    assert (proving.state, proving.requested_by) == (State.SUCCEEDED, fleet.operator)
    assert proving.finished_at < min(part.created_at for part in moves)
    assert job.result["moved"] == moves.count() == 5


def test_a_drain_does_without_when_they_were_proved_lately(fleet: Fleet) -> None:
    job = work(fleet.drain())
    assert job.state == State.SUCCEEDED, job.error_message
    assert not job.parts.filter(operation="host.prove_paths").exists()


def test_a_drain_goes_where_the_path_holds(fleet: Fleet) -> None:
    HostPair.objects.update(proved_at=timezone.now() - paths.LATELY)
    broken = fleet.hosts[1]
    refuse_canaries_to(fleet, broken)
    job = work(fleet.drain())
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    proving = job.parts.get(operation="host.prove_paths")
    assert (proving.state, proving.error_code) == (State.FAILED, "path_broken")
    assert fleet.running_on()[broken.name] == []
    assert len(fleet.running_on()["third"]) == 5


def refuse_canaries_to(fleet: Fleet, host: Host) -> None:
    """The first host's canary to that one is refused: it is the first that is sent."""
    assert host.name < "third"
    plant(Fault.MIGRATION_REFUSED, "left")


def test_a_drain_waits_for_another_job_that_proves(fleet: Fleet) -> None:
    HostPair.objects.update(proved_at=timezone.now() - paths.LATELY)
    other = prove(fleet.estate, host=1)
    job = fleet.estate.run(fleet.drain())
    assert job.state == State.WAITING
    assert Step.objects.get(job=job, name="paths").state == Step.State.RUNNING
    job = work(job)
    other.refresh_from_db()
    assert (job.state, other.state) == (State.SUCCEEDED, State.SUCCEEDED), (job.error_message, other.error_message)


def test_a_drain_that_is_cancelled_while_its_paths_are_proved_moves_nothing(fleet: Fleet) -> None:
    HostPair.objects.update(proved_at=timezone.now() - paths.LATELY)
    job = fleet.estate.run(fleet.drain())
    job_cancel(actor=fleet.operator, job=job)
    job = work(job)
    assert job.state == State.CANCELLED
    assert len(fleet.running_on()["left"]) == 5
    assert fleet.host.availability == Host.Availability.ACTIVE


def test_rights_are_asked_before_each_canary(estate: Estate) -> None:
    keeper = make.user()
    make.grant(keeper, "platform-operator", estate.cluster)
    job = prove(estate, by=keeper)
    type(keeper).objects.filter(pk=keeper.pk).update(is_active=False)
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.CANCELLED, "right_withdrawn")
    assert canaries(estate) == []
