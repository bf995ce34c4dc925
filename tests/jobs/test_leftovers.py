"""Files that VMs left behind: when one must stay although its time is over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from access.gate import SYSTEM
from hypervisor.connect import connect
from hypervisor.errors import HypervisorError
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.driver import SimulatedHypervisor
from hypervisor.simulated_driver.faults import Fault, clear, plant
from hypervisor.simulated_driver.storage import DIRECTORY, POOL
from hypervisor.simulated_driver.store import open_store
from hypervisor.types import Disk, PowerState, StateReason
from inventory.errors import InventoryConflict
from inventory.leftovers import KEPT_FOR, leftover_keep
from inventory.models import Host, Leftover
from inventory.syncing import host_sync
from jobs.leftovers import remove_due
from jobs.models import Job, JobLock, Step
from jobs.operations.hosts import onlookers
from jobs.operations.migrate import settle
from jobs.states import State
from tests.jobs.conftest import Estate
from tests.jobs.crew import work
from tests.jobs.reaper import Reaper, mortal_work, points

IMAGE = "ledger.qcow2"


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db, monkeypatch: pytest.MonkeyPatch):
    """A worker's threads see only what was committed."""
    monkeypatch.setattr(settle, "READINGS_APART", 0.05)
    monkeypatch.setattr(onlookers, "SHOWS_WITHIN", 0.0)


@pytest.fixture
def leftover(estate: Estate, apart: Host) -> Leftover:
    """The VM has gone from `left` to `apart` with its disk, and the time of its old file is over."""
    copied(estate, apart)
    connect(estate.hosts[0].uri).volume_create(POOL, IMAGE, capacity_bytes=1)  # the simulated source's file
    due()
    return Leftover.objects.get()


def copied(estate: Estate, to: Host) -> Job:
    job = estate.do("vm.migrate", destination=to.pk, copy_disks=True)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    return job


def due() -> None:
    Leftover.objects.update(remove_after=timezone.now())


def swept() -> Job:
    remove_due()
    return work(Job.objects.filter(operation="host.remove_leftovers").latest("created_at"))


def there(host: Host, name: str = IMAGE) -> bool:
    return connect(host.uri).volume_seen(POOL, name)


def test_a_file_that_the_vm_uses_on_another_host_of_the_same_storage_stays(estate: Estate, leftover: Leftover) -> None:
    """Its owner came to a host that sees the old file's directory, after that was cleared as the checks ask for."""
    left, right = estate.hosts
    connect(left.uri).volume_remove(POOL, IMAGE)
    copied(estate, right)
    assert there(right)
    due()
    swept()
    assert there(right), "the VM's own disk was removed"
    assert {row.host.name: row.removed_at for row in Leftover.objects.all()}["left"] is None


def test_a_file_that_another_vm_uses_on_another_host_of_the_same_storage_stays(
    estate: Estate, leftover: Leftover
) -> None:
    disk = Disk("vda", "disk", leftover.path, "qcow2", "none", False)
    simulated.create_guest("right", "other", config=Config(disks=(disk,)))
    swept()
    assert there(estate.hosts[0])


def test_a_file_stays_whose_directory_has_become_that_of_the_vms_host(estate: Estate, leftover: Leftover) -> None:
    with open_store().change() as tx:
        tx.execute("UPDATE hosts SET cluster = (SELECT cluster FROM hosts WHERE name = 'left') WHERE name = 'apart'")
    swept()
    assert there(estate.hosts[0])


def test_a_file_stays_while_a_host_that_may_use_it_does_not_answer(estate: Estate, leftover: Leftover) -> None:
    plant(Fault.HOST_DOWN, "right")
    swept()
    assert there(estate.hosts[0])


def test_a_file_that_somebody_keeps_in_the_last_moment_stays(
    estate: Estate, leftover: Leftover, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = SimulatedHypervisor.files_in_use

    def kept_meanwhile(host: SimulatedHypervisor) -> set[str]:
        leftover_keep(actor=SYSTEM, leftover=leftover)
        return ask(host)

    monkeypatch.setattr(SimulatedHypervisor, "files_in_use", kept_meanwhile)
    job = swept()
    assert there(estate.hosts[0])
    leftover.refresh_from_db()
    assert (leftover.removed_at, leftover.remove_after, leftover.removing_at) == (None, None, None)
    assert job.result == {"removed": 0, "kept": 1}


def test_one_that_cannot_be_removed_does_not_hold_up_the_others_nor_tell_its_name(
    estate: Estate, leftover: Leftover, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = estate.hosts[0]
    connect(left.uri).volume_create(POOL, "second.qcow2", capacity_bytes=1)
    facts = {"host": left, "vm": estate.vm, "vm_name": "ledger", "left_at": leftover.left_at - timedelta(hours=1)}
    Leftover.objects.create(path=f"{DIRECTORY}/second.qcow2", remove_after=timezone.now(), **facts)
    remove = SimulatedHypervisor.volume_remove

    def stuck(host: SimulatedHypervisor, pool: str, name: str) -> None:
        if name == IMAGE:
            raise HypervisorError(f"cannot unlink file '{DIRECTORY}/{name}': Permission denied")
        remove(host, pool, name)

    monkeypatch.setattr(SimulatedHypervisor, "volume_remove", stuck)
    job = swept()
    assert not there(left, "second.qcow2")
    assert job.state == State.SUCCEEDED
    told = repr([job.error_message, job.result, *Step.objects.filter(job=job).values_list("title", "detail")])
    assert estate.vm.name not in told
    leftover.refresh_from_db()
    assert "Permission denied" in leftover.why_not
    assert leftover.remove_after > timezone.now()


def test_a_file_that_is_left_anew_has_its_time_anew(estate: Estate, apart: Host) -> None:
    """There and back and there again, with the files in the way removed by hand, as the checks ask for."""
    left = estate.hosts[0]
    copied(estate, apart)
    estate.sync()
    copied(estate, left)
    connect(apart.uri).volume_remove(POOL, IMAGE)
    there_before = Leftover.objects.get(host=left)
    old = timezone.now() - timedelta(hours=23, minutes=59)
    Leftover.objects.filter(pk=there_before.pk).update(left_at=old, remove_after=old + KEPT_FOR, why_not="in use")
    host_sync(apart)
    copied(estate, apart)
    again = Leftover.objects.get(host=left, removed_at=None)
    assert again.remove_after > timezone.now() + timedelta(hours=23)
    assert again.why_not == ""


def test_a_file_that_is_kept_stays_kept_when_it_is_left_anew(estate: Estate, apart: Host) -> None:
    left = estate.hosts[0]
    copied(estate, apart)
    leftover_keep(actor=SYSTEM, leftover=Leftover.objects.get())
    copied(estate, left)
    connect(apart.uri).volume_remove(POOL, IMAGE)
    copied(estate, apart)
    assert Leftover.objects.get(host=left).remove_after is None


def test_it_is_too_late_to_keep_what_is_being_removed(
    estate: Estate, leftover: Leftover, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, refused = SimulatedHypervisor.volume_remove, []

    def kept_too_late(host: SimulatedHypervisor, pool: str, name: str) -> None:
        with pytest.raises(InventoryConflict, match="too late"):
            leftover_keep(actor=SYSTEM, leftover=leftover)
        refused.append(name)
        remove(host, pool, name)

    monkeypatch.setattr(SimulatedHypervisor, "volume_remove", kept_too_late)
    assert swept().result == {"removed": 1, "kept": 0}
    assert refused == [IMAGE]


def test_a_marker_takes_the_time_that_a_host_needs_to_show_it(
    estate: Estate, leftover: Leftover, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host shows the directory as it was for a while, as NFS does."""
    monkeypatch.setattr(onlookers, "SHOWS_WITHIN", 5.0)
    monkeypatch.setattr(onlookers, "LOOK_EVERY", 0.01)
    with open_store().change() as tx:
        tx.execute("UPDATE hosts SET cluster = (SELECT cluster FROM hosts WHERE name = 'left') WHERE name = 'apart'")
    see, looks = SimulatedHypervisor.volume_seen, []

    def late(host: SimulatedHypervisor, pool: str, name: str) -> bool:
        looks.append(name)
        return len(looks) > 3 and see(host, pool, name)

    monkeypatch.setattr(SimulatedHypervisor, "volume_seen", late)
    swept()
    monkeypatch.setattr(SimulatedHypervisor, "volume_seen", see)
    assert there(estate.hosts[0])
    assert not open_store().connection().execute("SELECT 1 FROM volumes WHERE name LIKE 'slipway-%'").fetchall()


def test_a_file_stays_while_its_vm_is_not_well_elsewhere(estate: Estate, leftover: Leftover) -> None:
    """It is kept in case the copy turns out to be bad."""
    plant(Fault.DISK_ERROR, "apart", str(estate.vm.uuid))
    swept()
    leftover.refresh_from_db()
    assert leftover.why_not == "its VM has disk errors where it is"
    clear()
    simulated.set_state("apart", str(estate.vm.uuid), PowerState.CRASHED, StateReason.CRASHED)
    due()
    swept()
    leftover.refresh_from_db()
    assert leftover.why_not == "its VM crashed where it is"
    assert there(estate.hosts[0])


def test_a_worker_that_dies_anywhere_leaves_nothing_half_done(
    estate: Estate, leftover: Leftover, reaper: Reaper
) -> None:
    left = estate.hosts[0]
    for point in points(reaper, 1):
        Leftover.objects.update(removed_at=None, remove_after=timezone.now())
        if not there(left):
            connect(left.uri).volume_create(POOL, IMAGE, capacity_bytes=1)
        remove_due()
        job = mortal_work(Job.objects.filter(operation="host.remove_leftovers").latest("created_at"), reaper)
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        leftover.refresh_from_db()
        assert (leftover.removed_at is not None, leftover.removing_at) == (True, None), point
        assert not open_store().connection().execute("SELECT 1 FROM volumes WHERE name LIKE 'slipway-%'").fetchall()
        assert not there(left)
        assert not JobLock.objects.exists()
    assert point > 10
