"""Copies of disks that are not removed, since they may have what the guest wrote last, or not made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.storage import DIRECTORY, POOL
from hypervisor.simulated_driver.store import open_store
from hypervisor.types import PowerState, StateReason
from inventory.models import Cluster, Host
from inventory.paths import path_between, path_observed
from jobs.models import Job, JobLock, Step
from jobs.operations.migrate import operation, settle
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Estate
from tests.jobs.crew import work
from tests.jobs.reaper import Killed

RUNNING, PAUSED, OFF = PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUT_OFF


@pytest.fixture(autouse=True)
def _quickly(transactional_db, monkeypatch: pytest.MonkeyPatch):
    """A worker's threads see only what was committed."""
    monkeypatch.setattr(settle, "READINGS_APART", 0.05)


@pytest.fixture
def orphaned(estate: Estate, apart: Host, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A migration that copies, whose worker died as it made the call."""

    def die(*_: Any) -> None:
        raise Killed

    job = estate.submit("vm.migrate", destination=apart.pk, copy_disks=True)
    with monkeypatch.context() as patch:
        patch.setattr(operation, "_blocking_call", die)
        with pytest.raises(Killed):
            estate.run(job)
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    return job


def put(estate: Estate, left: Any, apart: Any) -> None:
    """Let the hosts say that; None: nothing."""
    uuid = str(estate.vm.uuid)
    if apart is not None:
        simulated.copy_guest(uuid, "left", "apart", *apart)
    if left is None:
        simulated.remove_guest("left", uuid)
    else:
        simulated.set_state("left", uuid, *left)


@pytest.mark.parametrize(
    ("left", "there", "code"),
    [
        ((OFF, StateReason.CRASHED), (RUNNING, StateReason.POSTCOPY), "guest_stopped"),
        ((PAUSED, StateReason.POSTCOPY), None, "guest_stopped"),
        ((PAUSED, StateReason.POSTCOPY_FAILED), (OFF, StateReason.CRASHED), "guest_stopped"),
        ((OFF, StateReason.CRASHED), (OFF, StateReason.SHUTDOWN), "guest_stopped"),
        (None, None, "definition_lost"),
    ],
)
def test_copies_stay_when_the_guest_may_have_written_to_them(
    estate: Estate, apart: Host, orphaned: Job, left: Any, there: Any, code: str
) -> None:
    put(estate, left, there)
    job = work(orphaned)
    assert (job.state, job.error_code) == (State.FAILED, code)
    assert connect(apart.uri).volume_seen(POOL, "ledger.qcow2"), "what the guest wrote last was removed"
    assert f"The copies of its disks on {apart} may have what it wrote last" in job.error_message
    assert not JobLock.objects.exists()


def test_copies_go_when_the_guest_runs_where_it_was(estate: Estate, apart: Host, orphaned: Job) -> None:
    put(estate, (RUNNING, StateReason.UNPAUSED), (OFF, StateReason.FAILED))
    job = work(orphaned)
    assert (job.state, job.error_code) == (State.FAILED, "migration_failed")
    assert not connect(apart.uri).volume_seen(POOL, "ledger.qcow2")


def test_copies_go_when_the_guest_stopped_where_it_was(estate: Estate, apart: Host, orphaned: Job) -> None:
    put(estate, (OFF, StateReason.SHUTDOWN), None)
    job = work(orphaned)
    assert (job.state, job.error_code) == (State.FAILED, "guest_stopped")
    assert not connect(apart.uri).volume_seen(POOL, "ledger.qcow2")


def with_disk(estate: Estate, **facts: Any) -> None:
    """Let the VM's disk be another kind of one."""
    uuid = str(estate.vm.uuid)
    with open_store().change() as tx:
        row = tx.execute("SELECT config FROM guests WHERE uuid = ?", (uuid,)).fetchone()
        config = Config.loads(row["config"])
        changed = replace(config, disks=tuple(replace(disk, **facts) for disk in config.disks))
        tx.execute("UPDATE guests SET config = ? WHERE uuid = ?", (changed.dumps(), uuid))


def test_a_disk_that_several_guests_write_is_not_copied(estate: Estate, apart: Host) -> None:
    """The others would go on with the old file, and this one with the copy."""
    with_disk(estate, shareable=True)
    job = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert (job.state, job.error_code) == (State.FAILED, "storage_not_shared")
    assert not connect(apart.uri).volume_seen(POOL, "ledger.qcow2")


def test_nobody_is_told_to_remove_the_disk_itself_where_the_hosts_share_it(estate: Estate) -> None:
    """They do, but nobody has proved it lately, and the cluster does not say so."""
    Cluster.objects.update(shared_storage=False)
    left, right = estate.hosts
    connect(left.uri).volume_create(POOL, "ledger.qcow2", capacity_bytes=1)  # the VM's own disk, seen by both
    job = estate.do("vm.migrate", destination=right.pk, copy_disks=True)
    assert (job.state, job.error_code) == (State.FAILED, "disk_exists")
    assert "prove the path" in job.error_message
    assert "may be the VM's own disk" in job.error_message


def test_what_the_vm_left_at_the_destination_is_not_taken_for_its_disk(estate: Estate, apart: Host) -> None:
    """The cluster came to say that its storage is shared, while an old copy lay at the other host."""
    left = estate.hosts[0]
    there = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert there.state == State.SUCCEEDED, there.error_message
    connect(left.uri).volume_create(POOL, "ledger.qcow2", capacity_bytes=1)  # the simulated source's file
    Cluster.objects.update(shared_storage=True)
    job = estate.do("vm.migrate", destination=left.pk)
    assert (job.state, job.error_code) == (State.FAILED, "storage_not_shared")
    assert "left has an old copy of vda" in job.error_message
    path = path_between(apart, left)
    path_observed(path, ok=True, seconds=1.0, shared=[DIRECTORY])  # it became the same directory since
    assert storage_here(estate, left) == "1 seen to be shared"
    path_observed(path, ok=True, seconds=1.0)
    connect(left.uri).volume_remove(POOL, "ledger.qcow2")  # by hand, say
    assert storage_here(estate, left) == "1 shared by the cluster's declaration"


def storage_here(estate: Estate, destination: Host) -> str:
    job = estate.do("vm.migrate_preview", destination=destination.pk)
    return Step.objects.get(job=job, name="storage").detail


def test_room_that_another_copy_is_about_to_take_is_not_given_twice(estate: Estate, apart: Host) -> None:
    """The volumes are sparse: what is on its way into them is not missing from the pool yet."""
    other = make.vm("other", segment=estate.segment, host=estate.hosts[0])
    coming = {"pool": POOL, "capacity_bytes": 95 * 1024**3, "target": "vda", "path": f"{DIRECTORY}/other.qcow2"}
    journal = {"destination": apart.pk, "copies": [coming]}
    make.job(other, by=estate.user, operation="vm.migrate", params={"destination": apart.pk}, journal=journal)
    job = estate.do("vm.migrate", destination=apart.pk, copy_disks=True)
    assert (job.state, job.error_code) == (State.FAILED, "storage_short")
    assert "5.0 GiB left" in job.error_message
