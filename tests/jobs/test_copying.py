"""Migrations that copy the disks: room is made before, cleared away after a failure; the source's files go later."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.errors import NotAllowed
from audit.events import EventAction
from audit.models import AuditEvent
from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.driver import SimulatedHypervisor
from hypervisor.simulated_driver.faults import Fault, plant
from hypervisor.simulated_driver.storage import DIRECTORY, DISK_BYTES, POOL
from hypervisor.types import Disk, PowerState
from inventory.errors import InventoryConflict
from inventory.leftovers import KEPT_FOR, leftover_keep
from inventory.models import VM, Host, Leftover
from jobs.leftovers import remove_due
from jobs.models import Job, JobLock, Step
from jobs.operations.hosts import onlookers
from jobs.operations.migrate import settle
from jobs.operations.migrate.prechecks import read_facts, verdicts
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate
from tests.jobs.crew import work
from tests.jobs.reaper import Killed

IMAGE = "ledger.qcow2"


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db, monkeypatch: pytest.MonkeyPatch):
    """A worker's threads see only what was committed."""
    monkeypatch.setattr(settle, "READINGS_APART", 0.05)
    monkeypatch.setattr(onlookers, "SHOWS_WITHIN", 0.0)


def volume_there(host: Host) -> bool:
    return connect(host.uri).volume_seen(POOL, IMAGE)


def test_a_disk_that_is_not_shared_is_copied_when_that_was_asked_for(estate: Estate, apart: Host) -> None:
    refused = estate.do("vm.migrate", destination=apart.pk)
    assert (refused.state, refused.error_code) == (State.FAILED, "storage_not_shared")
    assert "ask for the disks to be copied" in refused.error_message
    job = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert Step.objects.get(job=job, name="storage").detail == "1 to be copied"
    assert Step.objects.get(job=job, name="copying").detail == "1 disks, 10.0 GiB"
    assert connect(apart.uri).guest_state(str(estate.vm.uuid)).state is PowerState.RUNNING
    left = Leftover.objects.get()
    assert (left.host.name, left.vm, left.path) == ("left", estate.vm, f"{DIRECTORY}/{IMAGE}")
    assert left.size_bytes == DISK_BYTES
    assert left.remove_after - left.left_at == KEPT_FOR
    intents = AuditEvent.objects.filter(job_id=str(job.pk), action=EventAction.EFFECT_INTENT).order_by("pk")
    assert [event.detail["call"] for event in intents] == ["volume_create", "migrate", "mark_operation"]
    assert intents[1].detail["spec"]["copied"] == ["vda"]


def test_disks_that_are_shared_are_not_copied(estate: Estate) -> None:
    job = estate.do("vm.migrate", copy_disks=True)
    assert job.state == State.SUCCEEDED, job.error_message
    assert Step.objects.get(job=job, name="copying").detail == "nothing to copy"
    assert not Leftover.objects.exists()


def test_a_migration_that_fails_leaves_no_copy(estate: Estate, apart: Host) -> None:
    plant(Fault.MIGRATION_FAILS, "left", str(estate.vm.uuid))
    job = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert (job.state, job.error_code) == (State.FAILED, "migration_failed")
    assert not volume_there(apart)
    assert not Leftover.objects.exists()
    assert connect(estate.hosts[0].uri).guest_state(str(estate.vm.uuid)).state is PowerState.RUNNING


def test_somebody_elses_file_is_neither_overwritten_nor_removed(
    estate: Estate, apart: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(apart.uri).volume_create(POOL, IMAGE, capacity_bytes=1)
    refused = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert (refused.state, refused.error_code) == (State.FAILED, "disk_exists")
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedHypervisor, "volume_seen", lambda *_: False)  # it comes just after the check
        late = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert late.state == State.FAILED
    assert volume_there(apart)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("pool_missing", {"pool": ""}),
        ("disk_exists", {"is_taken": True}),
        ("storage_short", {"free_bytes": DISK_BYTES - 1}),
    ],
)
def test_what_speaks_against_a_copy_is_told(estate: Estate, apart: Host, code: str, change: dict[str, Any]) -> None:
    left = Host.objects.select_related("cluster").get(name="left")
    facts = read_facts(estate.vm, left, apart, connect(left.uri), connect(apart.uri), copy_disks=True)
    assert [verdict.code for verdict in verdicts(facts) if not verdict.holds] == []
    changed = replace(facts, copies=(replace(facts.copies[0], **change),))
    failed = [verdict for verdict in verdicts(changed) if not verdict.holds]
    assert [verdict.code for verdict in failed] == [code]
    assert failed[0].why.endswith(".")


def test_two_disks_must_fit_together(estate: Estate, apart: Host) -> None:
    left = Host.objects.select_related("cluster").get(name="left")
    facts = read_facts(estate.vm, left, apart, connect(left.uri), connect(apart.uri), copy_disks=True)
    one = replace(facts.copies[0], free_bytes=2 * DISK_BYTES - 1)
    both = replace(facts, copies=(one, replace(one, target="vdb")))
    assert [verdict.code for verdict in verdicts(both) if not verdict.holds] == ["storage_short"]


def test_snapshots_would_be_lost_by_a_copy(estate: Estate, apart: Host) -> None:
    assert estate.do("snapshot.create", name="one").state == State.SUCCEEDED
    job = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert (job.state, job.error_code) == (State.FAILED, "snapshots_not_copied")
    assert not volume_there(apart)


@pytest.mark.parametrize("call", ["volume_create", "mark_operation", "migrate"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_in_between_loses_nothing(
    estate: Estate, apart: Host, monkeypatch: pytest.MonkeyPatch, call: str, when: str
) -> None:
    job = estate.submit("vm.migrate", destination=apart.pk, copy_disks=True)
    original = getattr(SimulatedHypervisor, call)

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
    moved = job.state == State.SUCCEEDED
    assert moved or call in ("mark_operation", "migrate"), (job.error_message, job.traceback)
    assert volume_there(apart) is moved
    assert Leftover.objects.count() == int(moved)
    assert not JobLock.objects.exists()


# -- what was left behind ----------------------------------------------------------------------------------------------


@pytest.fixture
def leftover(estate: Estate, apart: Host) -> Leftover:
    """The VM has moved with its disk, and the time of its old file is over."""
    job = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert job.state == State.SUCCEEDED, job.error_message
    connect(estate.hosts[0].uri).volume_create(POOL, IMAGE, capacity_bytes=1)  # the simulated source's file
    Leftover.objects.update(remove_after=timezone.now())
    return Leftover.objects.get()


def swept() -> Job | None:
    """The job that the scheduler has made of what is due, carried out."""
    remove_due()
    job = Job.objects.filter(operation="host.remove_leftovers").order_by("-created_at").first()
    return work(job) if job is not None and not job.is_over else None


def test_it_is_removed_when_its_time_is_over(estate: Estate, leftover: Leftover) -> None:
    job = swept()
    assert job is not None
    assert (job.state, job.result) == (State.SUCCEEDED, {"removed": 1, "kept": 0})
    leftover.refresh_from_db()
    assert leftover.removed_at is not None
    assert not volume_there(estate.hosts[0])
    told = AuditEvent.objects.filter(job_id=str(job.pk), action__startswith="effect").order_by("pk")
    assert [(event.action, event.detail["call"], event.detail.get("volume", "")) for event in told] == [
        (EventAction.EFFECT_INTENT, "prove_storage", ""), (EventAction.EFFECT_OUTCOME, "prove_storage", ""),
        (EventAction.EFFECT_INTENT, "volume_remove", IMAGE), (EventAction.EFFECT_OUTCOME, "volume_remove", IMAGE),
    ]  # fmt: skip
    assert not any(estate.vm.name in repr((step.title, step.detail)) for step in Step.objects.filter(job=job))
    assert swept() is None


def test_it_is_not_removed_before_its_time(estate: Estate, leftover: Leftover) -> None:
    Leftover.objects.update(remove_after=timezone.now() + timedelta(minutes=5))
    assert swept() is None
    assert volume_there(estate.hosts[0])


def test_it_stays_when_its_vm_came_back_or_is_lost(estate: Estate, leftover: Leftover) -> None:
    VM.objects.filter(pk=estate.vm.pk).update(host=estate.hosts[0])
    job = swept()
    assert job is not None
    assert job.result == {"removed": 0, "kept": 1}
    leftover.refresh_from_db()
    assert leftover.why_not == "its VM is on no other host"
    assert leftover.remove_after > timezone.now() + timedelta(hours=23)
    VM.objects.filter(pk=estate.vm.pk).update(host=Host.objects.get(name="right"))  # which does not know it
    Leftover.objects.update(remove_after=timezone.now())
    swept()
    leftover.refresh_from_db()
    assert leftover.why_not == "the host of its VM does not know it any more"
    assert volume_there(estate.hosts[0])


def test_it_stays_while_another_vm_uses_the_file(estate: Estate, leftover: Leftover) -> None:
    disk = Disk("vda", "disk", leftover.path, "qcow2", "none", False)
    simulated.create_guest("left", "other", running=False, config=Config(disks=(disk,)))
    swept()
    leftover.refresh_from_db()
    assert leftover.why_not == "a VM of this host uses it"
    assert volume_there(estate.hosts[0])


def test_who_operates_the_host_may_keep_it(estate: Estate, leftover: Leftover) -> None:
    with pytest.raises(NotAllowed):
        leftover_keep(actor=make.user_with("viewer", leftover.host), leftover=leftover)
    operator = make.user_with("platform-operator", leftover.host)
    for _ in ("once", "and again"):
        leftover_keep(actor=operator, leftover=leftover)
    assert swept() is None
    assert volume_there(estate.hosts[0])
    event = AuditEvent.objects.get(action=EventAction.HOST_CHANGED, actor_name=operator.username)
    assert event.detail["file"] == leftover.path
    Leftover.objects.update(removed_at=timezone.now())
    with pytest.raises(InventoryConflict):
        leftover_keep(actor=operator, leftover=leftover)
