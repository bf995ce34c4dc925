"""Baselines that are taken by themselves: when, of what, and what is said meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as some

from access.gate import SYSTEM
from hypervisor.connect import connect
from hypervisor.errors import HostUnreachable, NotSupported
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.observing import Observing
from hypervisor.simulated_driver.snapshotting import Snapshotting
from inventory.models import VM, Host, Segment, Snapshot
from inventory.services.baselines import segment_set_baseline, vm_set_installed
from jobs import baselines
from jobs.approvals import approval_rules_set, job_approve
from jobs.baselines import RETRIED_LATEST, Tries, moment, outlook, take_due
from jobs.errors import InvalidRequest, NotAdmitted
from jobs.models import Job
from jobs.operations.snapshots import create
from jobs.operations.snapshots.pause import Forecast, Measured, foretold, pause_foretold
from jobs.states import State
from jobs.tasks import take_baselines
from portal.celery import app
from tests import factories as make
from tests.jobs.conftest import Estate

pytestmark = pytest.mark.django_db


def taken(estate: Estate) -> Snapshot:
    """What is due is taken; the baseline."""
    assert take_due() == 1
    job = estate.run(Job.objects.get(operation="snapshot.create", state=State.QUEUED))
    assert job.state == State.SUCCEEDED, job.error_message
    return Snapshot.objects.get(vm=estate.vm, is_baseline=True)


def why(estate: Estate) -> str:
    """Why the VM has no baseline yet; nothing may be due."""
    found = outlook(VM.objects.get(pk=estate.vm.pk), timezone.now())
    assert found is not None
    assert not found.is_due, found
    assert take_due() == 0
    return found.why


def policy(estate: Estate, name: str = "adopted", longest: int = 10) -> None:
    segment_set_baseline(actor=SYSTEM, segment=estate.segment, policy=name, longest_pause=longest)


@pytest.fixture(autouse=True)
def asks(request: pytest.FixtureRequest, settings: Any) -> None:
    """The estate's segment asks for baselines at once, as a new one does. The heartbeat's thread would wait for the
    test's transaction.
    """
    settings.SLIPWAY_HEARTBEAT_SECONDS = 60
    if "estate" in request.fixturenames:
        policy(request.getfixturevalue("estate"))


# When


def test_a_vm_that_is_adopted_gets_its_baseline_by_itself(estate: Estate) -> None:
    VM.objects.update(segment=None)
    assert why(estate) == "It is in no segment, so none is taken by itself."
    VM.objects.update(segment=estate.segment)
    found = outlook(VM.objects.get(), timezone.now())
    assert found is not None
    assert found.is_due
    row = taken(estate)
    job = Job.objects.get()
    assert (job.requester_name, job.requested_by, row.created_by) == ("system", None, None)
    assert row.name.startswith("baseline-")
    assert row.is_current
    assert outlook(estate.vm, timezone.now()) is None
    assert take_due() == 0


def test_the_task_that_beats_is_the_one_that_takes_them(estate: Estate) -> None:
    assert {"task": take_baselines.name}.items() <= app.conf.beat_schedule["take-baselines"].items()
    take_baselines()
    assert Job.objects.get().operation == "snapshot.create"


def test_where_the_segment_waits_for_a_mark_it_is_taken_once_somebody_makes_it(estate: Estate) -> None:
    policy(estate, "installed")
    assert why(estate) == "It is taken once somebody marks the VM as installed."
    vm_set_installed(actor=estate.user, vm=estate.vm, installed=True)
    vm_set_installed(actor=estate.user, vm=estate.vm, installed=False)
    assert why(estate) == "It is taken once somebody marks the VM as installed."
    vm_set_installed(actor=estate.user, vm=estate.vm, installed=True)
    taken(estate)


def test_one_that_would_stand_still_for_too_long_gets_it_once_it_is_off(estate: Estate) -> None:
    policy(estate, longest=1)
    said = why(estate)
    assert said.startswith(
        "It would stand still for about 3.3 s, by an assumption, since none was measured on its host"
    )
    assert said.endswith("its segment allows 1 s. It is taken once the VM is off.")
    assert estate.do("vm.shutdown").state == State.SUCCEEDED
    row = taken(estate)
    assert (row.has_memory, row.pause_ms) == (False, None)


def test_a_vm_that_was_started_meanwhile_is_not_saved_after_all(estate: Estate) -> None:
    """Off when it was submitted, running when the worker looks."""
    policy(estate, longest=0)
    assert estate.do("vm.shutdown").state == State.SUCCEEDED
    assert take_due() == 1
    connect(estate.hosts[0].uri).start(str(estate.vm.uuid))
    job = estate.run(Job.objects.get(operation="snapshot.create"))
    assert (job.state, job.error_code) == (State.FAILED, "pause_too_long")
    assert "0 s are allowed. Take it while the VM is off." in job.error_message
    assert not Snapshot.objects.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: VM.objects.update(missing_since=timezone.now()), "No host shows it at present."),
        (lambda e: Host.objects.update(connection=Host.Connection.UNREACHABLE), "Its host does not answer at present."),
        (lambda e: VM.objects.update(power_state="paused"), "It is paused; it must be running or off."),
        (lambda e: VM.objects.update(is_split=True), "Two hosts say that they run ledger"),
        (
            lambda e: approval_rules_set(actor=SYSTEM, segment=e.segment, operations=["snapshot.create"]),
            "Snapshots need somebody's approval in its segment, so none is taken by itself.",
        ),
        (
            lambda e: make.snapshot(e.vm, name="first", baseline=True, missing_since=timezone.now()),
            "Its host has lost its baseline “first”; a person has to see why.",
        ),
        (lambda e: e.submit("snapshot.create", baseline=True), "It is being taken."),
    ],
)
def test_what_speaks_against_it_is_said(estate: Estate, change: Any, said: str) -> None:
    change(estate)
    assert said in why(estate)


def test_a_vm_that_is_worked_on_gets_it_afterwards(estate: Estate) -> None:
    job = estate.submit("vm.migrate")
    assert why(estate) == "Another job works on it."
    estate.run(job)
    taken(estate)


def test_one_after_the_other_on_each_host(estate: Estate) -> None:
    for host, name in (("left", "web-1"), ("left", "web-2"), ("right", "web-3"), ("right", "web-4")):
        simulated.create_guest(host, name, memory_mib=256)
    estate.sync()
    VM.objects.update(segment=estate.segment)
    for expected in (2, 2, 1, 0):
        assert take_due() == expected
        assert take_due() == 0
        on = list(Job.objects.active().values_list("vm__host__name", flat=True))
        assert len(on) == len(set(on))
        for job in Job.objects.filter(state=State.QUEUED):
            assert estate.run(job).state == State.SUCCEEDED
    assert Snapshot.objects.filter(is_baseline=True).count() == 5


def test_of_two_looks_at_the_same_moment_the_second_sees_what_the_first_has_submitted(
    estate: Estate,
) -> None:
    simulated.create_guest("left", "web-1", memory_mib=256)
    estate.sync()
    VM.objects.update(segment=estate.segment)
    at_once = baselines._promising(timezone.now())
    assert len(at_once) == 2
    assert take_due() == 1
    assert not any(baselines._submitted(vm, host, timezone.now()) for vm, host in at_once)
    assert Job.objects.count() == 1


def test_a_look_asks_no_more_however_many_wait_for_another_moment(estate: Estate) -> None:
    policy(estate, longest=1)
    asked = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            assert take_due() == 0
        asked.append(len(queries))
        for _ in range(5):
            waits = make.vm(segment=estate.segment, host=estate.hosts[0], memory_mib=65536, power_state="running")
            make.snapshot(waits, pause_ms=60_000, saved_mib=65536)
    assert asked[0] == asked[1]


def test_what_failed_is_tried_again_later_and_says_why(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> None:
        raise NotSupported("The disk vda is raw and holds no snapshot.")

    with monkeypatch.context() as patched:
        patched.setattr(Snapshotting, "snapshot_create", refuses)
        assert take_due() == 1
        job = estate.run(Job.objects.get())
    assert job.state == State.FAILED
    assert "is tried again from" in why(estate)
    assert "The disk vda is raw and holds no snapshot." in why(estate)
    Job.objects.update(finished_at=timezone.now() - timedelta(hours=1, minutes=1))
    assert take_due() == 1


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@given(some.integers(0, 3600), some.floats(0, 10_000), some.integers(0, 100), some.floats(0, 200 * 3600))
def test_the_moment_is_when_it_may_stand_still_so_long_and_no_try_failed_lately(
    longest: int, seconds: float, failed: int, ago: float
) -> None:
    tries = Tries(failed, NOW - timedelta(seconds=ago) if failed else None, "no")
    found = moment(longest, Forecast(seconds, "a guess"), tries, NOW)
    waited = not failed or timedelta(seconds=ago) >= min(timedelta(hours=2 ** min(failed - 1, 10)), RETRIED_LATEST)
    assert found.is_due == (waited and seconds <= longest)
    assert found.why


# The pause


def test_the_pause_is_measured_and_the_next_one_foretold_from_it(estate: Estate) -> None:
    vm = VM.objects.get()
    assert pause_foretold(vm).basis.startswith("an assumption")
    job = estate.do("snapshot.create", name="one")
    assert job.state == State.SUCCEEDED
    row = Snapshot.objects.get(name="one")
    assert row.pause_ms is not None
    assert (row.saved_mib, row.taken_on) == (1024, estate.hosts[0])
    assert job.result["pause_seconds"] == pytest.approx(row.pause_ms / 1000, abs=0.001)
    assert 0 < job.result["pause_seconds"] <= job.result["seconds"]
    assert job.result["foretold_pause_seconds"] == pytest.approx(1024 / 310, abs=0.01)
    assert pause_foretold(vm) == Forecast(row.pause_ms / 1000, "its last snapshot")
    uuid = simulated.create_guest("left", "twice-as-large", memory_mib=2048)
    estate.sync()
    other = pause_foretold(VM.objects.get(uuid=uuid))
    assert other.basis == "the last snapshots on its host"
    assert other.seconds == pytest.approx(2 * row.pause_ms / 1000)


def test_what_was_measured_stands_when_the_job_is_taken_up_again(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dies:
        dies.setattr(create, "snapshot_proved", lambda *_: (_ for _ in ()).throw(HostUnreachable("gone")))
        job = estate.do("snapshot.create", name="one")
    assert job.state == State.LOST
    measured = job.result["pause_seconds"]
    Job.objects.update(state=State.QUEUED)
    assert estate.run(job).state == State.SUCCEEDED, job.error_message
    assert job.result["pause_seconds"] == measured
    assert Snapshot.objects.get().pause_ms == round(measured * 1000)


def test_a_host_that_tells_no_events_saves_all_the_same(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise HostUnreachable("Too many clients are connected.")

    with monkeypatch.context() as patched:
        patched.setattr(Observing, "watch", refuses)
        job = estate.do("snapshot.create", name="one")
    assert (job.state, job.result["pause_seconds"]) == (State.SUCCEEDED, None), job.error_message
    assert Snapshot.objects.get(name="one").pause_ms is None


def test_a_vm_that_is_off_stands_still_for_nothing(estate: Estate) -> None:
    assert pause_foretold(make.vm(power_state="shut_off", memory_mib=8192)).seconds == 0


def test_a_person_may_say_how_long_it_may_stand_still(estate: Estate) -> None:
    job = estate.do("snapshot.create", longest_pause_seconds=1)
    assert (job.state, job.error_code) == (State.FAILED, "pause_too_long")
    assert "ledger would stand still for about 3.3 s; 1 s are allowed." in job.error_message
    assert estate.do("snapshot.create", longest_pause_seconds=4).state == State.SUCCEEDED


@given(
    some.integers(1, 10**6),
    some.lists(some.tuples(some.integers(1, 10**6), some.floats(0.001, 10**4)), max_size=5),
)
def test_twice_the_memory_takes_twice_as_long(memory: int, saves: list[tuple[int, float]]) -> None:
    others = [Measured(*save) for save in saves]
    own = others[0] if others else None
    for known in ((None, []), (None, others), (own, others)):
        assert foretold(2 * memory, *known).seconds == pytest.approx(2 * foretold(memory, *known).seconds)
    if own is not None:
        assert foretold(own.memory_mib, own, []).seconds == pytest.approx(own.seconds)


# In place of another


def test_a_baseline_is_replaced_only_by_two(estate: Estate) -> None:
    first = taken(estate)
    with pytest.raises(NotAdmitted, match="Replace it, which a second person must approve"):
        estate.submit("snapshot.create", baseline=True)
    job = estate.submit("snapshot.create", baseline=True, replace=True, name="second")
    assert job.state == State.AWAITING_APPROVAL
    job_approve(actor=make.user_with("owner", estate.segment), job=job)
    assert estate.run(job).state == State.SUCCEEDED
    assert Snapshot.objects.get(is_baseline=True).name == "second"
    assert estate.do("snapshot.delete", snapshot=first.name).state == State.SUCCEEDED, "it is protected no more"


def test_one_that_its_host_has_lost_is_replaced_in_the_same_way(estate: Estate) -> None:
    make.snapshot(estate.vm, name="lost", baseline=True, missing_since=timezone.now())
    with pytest.raises(NotAdmitted, match="“lost”, which its host does not list any more"):
        estate.submit("snapshot.create", baseline=True)
    assert estate.submit("snapshot.create", baseline=True, replace=True).state == State.AWAITING_APPROVAL


def test_nothing_else_is_replaced(estate: Estate) -> None:
    with pytest.raises(NotAdmitted) as refused:
        estate.submit("snapshot.create", baseline=True, replace=True)
    assert refused.value.code == "no_baseline"
    with pytest.raises(InvalidRequest):
        estate.submit("snapshot.create", replace=True)


def test_segments_that_were_there_before_ask_for_nothing() -> None:
    """A new segment asks; the migration leaves it to people for those that exist."""
    operations = import_module("inventory.migrations.0015_baselines").Migration.operations
    added = next(o for o in operations if getattr(o, "name", "") == "baseline_policy")
    assert added.field.default == "installed"
    assert Segment._meta.get_field("baseline_policy").default == "adopted"


def test_a_host_that_slipway_saves_on_already_is_left_until_that_is_done(estate: Estate) -> None:
    simulated.create_guest("left", "web-1", memory_mib=256)
    estate.sync()
    VM.objects.update(segment=estate.segment)
    estate.submit("snapshot.create", name="somebody-elses")
    assert baselines.AT_ONCE_ON_A_HOST == 1
    assert take_due() == 0


# Another one under its name


def test_another_snapshot_under_its_name_is_not_what_to_fall_back_to(estate: Estate) -> None:
    """Somebody takes the baseline away on the host and puts what the VM is now in its place."""
    host, uuid = connect(estate.hosts[0].uri), str(estate.vm.uuid)
    first = taken(estate)
    host.snapshot_delete(uuid, first.name)
    host.snapshot_create(uuid, first.name, "As it is now")
    estate.sync()
    first.refresh_from_db()
    assert (first.is_baseline, first.missing_since is None, first.description) == (
        True, False, "Taken by itself, to fall back to",
    )  # fmt: skip
    assert why(estate).startswith("Its host has lost its baseline")


def test_one_person_does_not_take_another_under_the_name_of_the_lost_one(estate: Estate) -> None:
    first = taken(estate)
    connect(estate.hosts[0].uri).snapshot_delete(str(estate.vm.uuid), first.name)
    estate.sync()
    with pytest.raises(NotAdmitted) as refused:
        estate.submit("snapshot.create", name=first.name)
    assert refused.value.code == "snapshot_exists"


# While a request is taken in


def test_one_that_another_job_has_made_meanwhile_is_not_replaced(estate: Estate) -> None:
    """It ended after this one was admitted, and before this one had the VM to itself."""
    job = estate.submit("snapshot.create", name="second", baseline=True)
    make.snapshot(estate.vm, name="first", baseline=True)
    assert (estate.run(job).state, job.error_code) == (State.FAILED, "baseline_exists")
    assert Snapshot.objects.get().name == "first"


def test_one_that_has_become_the_baseline_meanwhile_is_not_deleted(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="first").state == State.SUCCEEDED
    job = estate.submit("snapshot.delete", snapshot="first")
    Snapshot.objects.update(is_baseline=True)
    assert (estate.run(job).state, job.error_code) == (State.FAILED, "baseline_protected")
    assert [one.name for one in connect(estate.hosts[0].uri).list_snapshots(str(estate.vm.uuid))] == ["first"]
