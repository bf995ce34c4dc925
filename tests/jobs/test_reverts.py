"""Going back: what is kept before, what the guest is told afterwards, and what is done when either does not work."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hypervisor.connect import connect
from hypervisor.errors import AgentRefused, HostUnreachable, HypervisorError, SnapshotFailed
from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver import faults
from hypervisor.simulated_driver.agent import Agent
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.snapshotting import Snapshotting
from hypervisor.types import PowerState, StateReason
from inventory.models import Snapshot
from jobs.models import Job
from jobs.operations.snapshots import clock, revert
from jobs.states import State
from tests.jobs.conftest import Estate

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quiet(settings: Any) -> None:
    """The heartbeat's thread would wait for this test's transaction."""
    settings.SLIPWAY_HEARTBEAT_SECONDS = 60


def host(estate: Estate) -> Hypervisor:
    return connect(estate.hosts[0].uri)


def uuid(estate: Estate) -> str:
    return str(estate.vm.uuid)


def step(job: Job, name: str) -> Any:
    return job.steps.get(name=name)


@pytest.fixture
def based(estate: Estate) -> Estate:
    """The estate's VM with a snapshot, and a file that came after it."""
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    host(estate).agent_write_file(uuid(estate), "/root/later", b"written afterwards")
    return estate


# What is lost is kept


def test_there_is_a_way_back_from_going_back(based: Estate) -> None:
    job = based.do("snapshot.revert", snapshot="base")
    assert job.state == State.SUCCEEDED, job.error_message
    safety = Snapshot.objects.get(name=job.result["safety"])
    assert safety.name == f"before-revert-{job.pk.hex[:8]}"
    assert (safety.created_by, safety.has_memory) == (based.user, True)
    assert safety.description.startswith("Before going back to “base”")
    assert job.result["safety_pause_seconds"] > 0
    with pytest.raises(AgentRefused):
        host(based).agent_read_file(uuid(based), "/root/later")
    again = based.do("snapshot.revert", snapshot=safety.name, safety=False)
    assert again.state == State.SUCCEEDED, again.error_message
    assert host(based).agent_read_file(uuid(based), "/root/later") == b"written afterwards"
    assert "safety" not in again.result


def test_what_could_not_be_kept_is_not_lost(based: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> None:
        raise SnapshotFailed("The pool is full.")

    with monkeypatch.context() as patched:
        patched.setattr(Snapshotting, "snapshot_create", refuses)
        job = based.do("snapshot.revert", snapshot="base")
    assert (job.state, job.error_code) == (State.FAILED, "safety_failed")
    assert "ledger is as it was: it could not be saved first (The pool is full.)" in job.error_message
    assert host(based).agent_read_file(uuid(based), "/root/later") == b"written afterwards"
    assert host(based).guest_state(uuid(based)).state is PowerState.RUNNING
    assert based.do("snapshot.revert", snapshot="base", safety=False).state == State.SUCCEEDED


def test_a_save_that_leaves_the_vm_paused_is_mended_before_anything_is_lost(based: Estate) -> None:
    faults.plant(Fault.SNAPSHOT_STUCK, "left", uuid(based))
    job = based.do("snapshot.revert", snapshot="base")
    while not job.is_over:
        Job.objects.filter(pk=job.pk, state=State.LOST).update(state=State.QUEUED)
        job = based.run(job)
    state = host(based).guest_state(uuid(based))
    assert state.state is PowerState.RUNNING, (state, job.error_message)


def test_a_vm_that_is_off_is_kept_as_well(based: Estate) -> None:
    assert based.do("vm.force_off").state == State.SUCCEEDED
    job = based.do("snapshot.revert", snapshot="base")
    assert job.state == State.SUCCEEDED, job.error_message
    safety = Snapshot.objects.get(name=job.result["safety"])
    assert (safety.has_memory, safety.state) == (False, "shut_off")
    assert "safety_pause_seconds" not in job.result
    assert host(based).guest_state(uuid(based)).state is PowerState.RUNNING


def test_one_that_is_neither_running_nor_off_is_brought_back_without(based: Estate) -> None:
    """A guest whose disk failed, say: it stands still, and cannot be saved."""
    simulated.set_state("left", uuid(based), PowerState.PAUSED, StateReason.IO_ERROR)
    based.sync()
    job = based.do("snapshot.revert", snapshot="base")
    assert job.state == State.SUCCEEDED, job.error_message
    assert "safety" not in job.result
    assert host(based).guest_state(uuid(based)).state is PowerState.RUNNING


def test_what_was_kept_goes_after_a_week_also_when_going_back_failed(
    based: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise SnapshotFailed("The image is damaged.")

    monkeypatch.setattr(Snapshotting, "snapshot_revert", refuses)
    job = based.do("snapshot.revert", snapshot="base")
    assert job.state == State.FAILED
    safety = Snapshot.objects.get(name=job.result["safety"])
    assert safety.expires_at is not None
    assert safety.created_by == based.user


def test_what_is_there_after_going_back_is_not_kept_as_what_was_there_before(
    based: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker died right after going back, and somebody has deleted the snapshot that was kept."""
    with monkeypatch.context() as dies:
        dies.setattr(revert, "revert_proved", lambda *_: (_ for _ in ()).throw(HostUnreachable("gone")))
        job = based.do("snapshot.revert", snapshot="base")
    assert job.state == State.LOST
    host(based).snapshot_delete(uuid(based), job.result["safety"])
    Job.objects.update(state=State.QUEUED)
    assert based.run(job).state == State.SUCCEEDED, job.error_message
    assert [one.name for one in host(based).list_snapshots(uuid(based))] == ["base"]


def test_it_does_not_go_back_twice_though_the_guest_was_started_anew_meanwhile(
    based: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dies:
        dies.setattr(revert, "clock_set", lambda *_: (_ for _ in ()).throw(HostUnreachable("gone")))
        job = based.do("snapshot.revert", snapshot="base")
    assert job.state == State.LOST
    host(based).force_off(uuid(based))
    host(based).start(uuid(based))
    calls: list[Any] = []
    monkeypatch.setattr(Snapshotting, "snapshot_revert", lambda *given: calls.append(given))
    Job.objects.update(state=State.QUEUED)
    assert based.run(job).state == State.SUCCEEDED, job.error_message
    assert not calls


# What time it is


def late(estate: Estate) -> float:
    return time.time() - host(estate).agent_clock(uuid(estate))


def test_the_guest_is_told_what_time_it_is(based: Estate) -> None:
    host(based).agent_set_clock(uuid(based), time.time() - 3600)
    assert based.do("snapshot.create", name="late").state == State.SUCCEEDED
    job = based.do("snapshot.revert", snapshot="late", safety=False)
    assert job.state == State.SUCCEEDED, job.error_message
    assert step(job, "clock").detail == "it was 3600 s late"
    assert job.result["clock_behind_seconds"] == pytest.approx(3600, abs=2)
    assert abs(late(based)) < 1


def test_a_clock_that_is_right_is_let_be(based: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agent, "agent_set_clock", lambda *_: pytest.fail("it was right"))
    job = based.do("snapshot.revert", snapshot="base", safety=False)
    assert (job.state, step(job, "clock").detail) == (State.SUCCEEDED, "it was right")


@pytest.mark.parametrize("sets", [True, False])
def test_an_agent_that_refuses_is_believed_by_what_the_clock_says(
    based: Estate, monkeypatch: pytest.MonkeyPatch, sets: bool
) -> None:
    """One sets the clock and fails at the hardware clock; another does nothing."""
    real = Agent.agent_set_clock
    host(based).agent_set_clock(uuid(based), time.time() - 3600)
    assert based.do("snapshot.create", name="late").state == State.SUCCEEDED

    def refuses(connection: Any, guest: str, at: float) -> None:
        if sets:
            real(connection, guest, at)
        raise AgentRefused("hwclock failed to set hardware clock to system time")

    monkeypatch.setattr(Agent, "agent_set_clock", refuses)
    job = based.do("snapshot.revert", snapshot="late", safety=False)
    assert job.state == State.SUCCEEDED, job.error_message
    said = "it was 3600 s late" if sets else "it was 3600 s late, and could not be set: hwclock failed"
    assert step(job, "clock").detail.startswith(said)
    assert step(job, "clock").detail.endswith("late") == sets


def test_a_guest_whose_agent_is_silent_is_back_all_the_same(based: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "ANSWERS_WITHIN", 0.5)
    faults.plant(Fault.AGENT_SILENT, "left", uuid(based))
    job = based.do("snapshot.revert", snapshot="base", safety=False)
    assert job.state == State.SUCCEEDED, job.error_message
    assert step(job, "clock").detail == "its agent does not answer: the clock is as it was in the snapshot"


def test_a_clock_of_nonsense_is_no_clock(based: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    def nonsense(*_: Any) -> float:
        raise HypervisorError("The guest agent answered nonsense.")

    monkeypatch.setattr(clock, "ANSWERS_WITHIN", 0.3)
    monkeypatch.setattr(Agent, "agent_clock", nonsense)
    job = based.do("snapshot.revert", snapshot="base", safety=False)
    assert job.state == State.SUCCEEDED
    assert "does not answer" in step(job, "clock").detail
