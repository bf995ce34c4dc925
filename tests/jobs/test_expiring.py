"""Snapshots that go by themselves when their time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from hypervisor.connect import connect
from hypervisor.errors import SnapshotFailed
from hypervisor.simulated_driver.snapshotting import Snapshotting
from inventory.errors import InvalidInventoryRequest
from inventory.models import Snapshot
from inventory.services.snapshots import snapshot_set_expiry
from jobs.approvals import approval_rules_set
from jobs.errors import InvalidRequest
from jobs.expiring import delete_due
from jobs.models import Job
from jobs.operations.snapshots.acts import SAFETY_KEPT_FOR
from jobs.states import State
from jobs.tasks import delete_snapshots
from portal.celery import app
from tests import factories as make
from tests.jobs.conftest import Estate

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quiet(settings: Any) -> None:
    """The heartbeat's thread would wait for this test's transaction."""
    settings.SLIPWAY_HEARTBEAT_SECONDS = 60


def listed(estate: Estate) -> set[str]:
    """By the host itself."""
    return {snapshot.name for snapshot in connect(estate.hosts[0].uri).list_snapshots(str(estate.vm.uuid))}


def is_over(*names: str) -> None:
    """Their time is over."""
    Snapshot.objects.filter(name__in=names).update(expires_at=timezone.now() - timedelta(minutes=1))


def carried_out(estate: Estate) -> int:
    """Have what is due deleted; how many jobs that took."""
    count = delete_due()
    for job in Job.objects.filter(state=State.QUEUED):
        assert estate.run(job).state == State.SUCCEEDED, job.error_message
    return count


def test_one_whose_time_is_over_is_deleted_and_the_others_stay(estate: Estate) -> None:
    for name, hours in (("short", 1), ("long", 1000), ("endless", None)):
        assert estate.do("snapshot.create", name=name, keep_hours=hours).state == State.SUCCEEDED
    ends = Snapshot.objects.get(name="short").expires_at
    assert ends is not None
    assert timedelta(minutes=59) < ends - timezone.now() <= timedelta(hours=1)
    assert carried_out(estate) == 0
    is_over("short")
    assert carried_out(estate) == 1
    assert listed(estate) == {"long", "endless"}
    assert not Snapshot.objects.filter(name="short").exists()
    job = Job.objects.get(operation="snapshot.delete")
    assert (job.requester_name, job.requested_by) == ("system", None)
    assert carried_out(estate) == 0


def test_the_task_that_beats_is_the_one_that_deletes_them(estate: Estate) -> None:
    assert {"task": delete_snapshots.name}.items() <= app.conf.beat_schedule["delete-snapshots"].items()
    assert estate.do("snapshot.create", name="one", keep_hours=1).state == State.SUCCEEDED
    is_over("one")
    delete_snapshots()
    assert Job.objects.get(state=State.QUEUED).operation == "snapshot.delete"


def test_one_after_the_other_of_a_vm(estate: Estate) -> None:
    for name in ("one", "two"):
        assert estate.do("snapshot.create", name=name, keep_hours=1).state == State.SUCCEEDED
    is_over("one", "two")
    assert [carried_out(estate) for _ in range(3)] == [1, 1, 0]
    assert listed(estate) == set()


def test_a_vm_that_is_worked_on_is_left_until_that_is_done(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="one", keep_hours=1).state == State.SUCCEEDED
    is_over("one")
    job = estate.submit("vm.migrate")
    assert delete_due() == 0
    estate.run(job)
    assert delete_due() == 1
    assert estate.run(Job.objects.get(state=State.QUEUED)).state == State.SUCCEEDED


def test_what_was_taken_before_something_dangerous_goes_after_a_week(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="base").state == State.SUCCEEDED
    assert estate.do("vm.patch", probation_seconds=0).state == State.SUCCEEDED
    assert estate.do("snapshot.revert", snapshot="base").state == State.SUCCEEDED
    taken = Snapshot.objects.exclude(name="base")
    assert {row.name.partition("-")[0] for row in taken} == {"patch", "before"}
    for row in taken:
        assert row.created_by == estate.user
        assert row.expires_at is not None
        assert abs(row.expires_at - timezone.now() - SAFETY_KEPT_FOR) < timedelta(minutes=1)
    assert Snapshot.objects.get(name="base").expires_at is None


def test_a_baseline_never_goes(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="base", baseline=True).state == State.SUCCEEDED
    is_over("base")
    assert delete_due() == 0
    with pytest.raises(InvalidInventoryRequest, match="A baseline is kept"):
        snapshot_set_expiry(actor=SYSTEM, snapshot=Snapshot.objects.get(), hours=1)
    with pytest.raises(InvalidRequest, match="A baseline is kept"):
        estate.submit("snapshot.create", baseline=True, keep_hours=1)


def test_nothing_goes_by_itself_where_deleting_needs_a_second_person(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="one", keep_hours=1).state == State.SUCCEEDED
    is_over("one")
    approval_rules_set(actor=SYSTEM, segment=estate.segment, operations=["snapshot.delete"])
    assert delete_due() == 0
    approval_rules_set(actor=SYSTEM, segment=estate.segment, operations=[])
    assert delete_due() == 1


def test_a_look_asks_no_more_however_many_stay_where_a_second_person_is_needed(estate: Estate) -> None:
    approval_rules_set(actor=SYSTEM, segment=estate.segment, operations=["snapshot.delete"])
    asked = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            assert delete_due() == 0
        asked.append(len(queries))
        for _ in range(5):
            make.snapshot(make.vm(segment=estate.segment), expires_at=timezone.now() - timedelta(hours=1))
    assert asked[0] == asked[1]


def test_what_could_not_be_deleted_is_tried_again_later(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> None:
        raise SnapshotFailed("The image is damaged.")

    assert estate.do("snapshot.create", name="one", keep_hours=1).state == State.SUCCEEDED
    is_over("one")
    with monkeypatch.context() as patched:
        patched.setattr(Snapshotting, "snapshot_delete", refuses)
        assert delete_due() == 1
        assert estate.run(Job.objects.get(state=State.QUEUED)).state == State.FAILED
    assert delete_due() == 0
    Job.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert delete_due() == 1
    assert estate.run(Job.objects.get(state=State.QUEUED)).state == State.SUCCEEDED


def test_who_may_delete_it_says_how_long_it_stays(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="one").state == State.SUCCEEDED
    snapshot = Snapshot.objects.get()
    for refused, who in ((NotAllowed, make.user_with("operator", estate.segment)), (NotVisible, make.user())):
        with pytest.raises(refused):
            snapshot_set_expiry(actor=who, snapshot=snapshot, hours=1)
    assert snapshot_set_expiry(actor=estate.user, snapshot=snapshot, hours=1).expires_at is not None
    assert snapshot_set_expiry(actor=estate.user, snapshot=snapshot, hours=None).expires_at is None
    for wrong in (0, -1, 24 * 365 + 1):
        with pytest.raises(InvalidInventoryRequest):
            snapshot_set_expiry(actor=estate.user, snapshot=snapshot, hours=wrong)
        with pytest.raises(InvalidRequest):
            estate.submit("snapshot.create", keep_hours=wrong)


def test_another_one_under_the_same_name_has_nothing_of_what_was_said_about_the_first(estate: Estate) -> None:
    host, uuid = connect(estate.hosts[0].uri), str(estate.vm.uuid)
    assert estate.do("snapshot.create", name="one", keep_hours=1).state == State.SUCCEEDED
    host.snapshot_delete(uuid, "one")
    host.snapshot_create(uuid, "one", "")
    estate.sync()
    row = Snapshot.objects.get()
    assert (row.expires_at, row.created_by, row.pause_ms, row.missing_since) == (None, None, None, None)


def test_what_somebody_keeps_while_the_job_waits_for_a_worker_stays(estate: Estate) -> None:
    assert estate.do("snapshot.create", name="one", keep_hours=1).state == State.SUCCEEDED
    is_over("one")
    assert delete_due() == 1
    snapshot_set_expiry(actor=estate.user, snapshot=Snapshot.objects.get(), hours=None)
    job = estate.run(Job.objects.get(state=State.QUEUED))
    assert (job.state, job.error_code) == (State.FAILED, "snapshot_kept")
    assert listed(estate) == {"one"}
