"""Who belongs on a host that was emptied, and what becomes of a host that is removed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.errors import NotAllowed
from access.gate import SYSTEM
from access.models import Effect
from hypervisor.connect import connect
from inventory.errors import InventoryConflict
from inventory.models import VM, Host
from jobs.approvals import approval_rules_set, job_approve
from jobs.models import BrokenGlass, Job
from jobs.retiring import host_retire
from jobs.services import job_cancel, job_submit
from jobs.states import State
from tests import factories as make
from tests.jobs.conftest import Fleet
from tests.jobs.crew import work

pytestmark = pytest.mark.django_db


def test_what_a_cancelled_drain_did_is_not_undone_by_a_later_activation(fleet: Fleet) -> None:
    job = fleet.drain(at_once=1)
    fleet.estate.run(job)
    moved = job.parts.get().target_name
    fleet.estate.run(job.parts.get())
    job_cancel(actor=fleet.operator, job=Job.objects.get(pk=job.pk))
    work(job)
    assert work(fleet.drain()).state == State.SUCCEEDED
    assert work(fleet.activate()).result["returned"] == 4
    assert moved not in fleet.running_on()["left"]


def test_a_vm_that_its_team_has_switched_since_is_let_be(fleet: Fleet) -> None:
    web = VM.objects.get(name="web-1")
    make.grant(fleet.operator, _only("migrate"), web, effect=Effect.DENY)
    assert work(fleet.drain(unmovable="shut_down")).result["shut_down"] == 1
    Host.objects.filter(pk=fleet.host.pk).update(availability=Host.Availability.RESTORING)
    for operation in ("vm.start", "vm.force_off"):
        switched = job_submit(actor=fleet.operator, operation=operation, target=VM.objects.get(name="web-1"))
        assert fleet.estate.run(switched).state == State.SUCCEEDED
    assert work(fleet.activate()).result["started"] == 0


def _only(action: str) -> Any:
    from access.models import Role

    return Role.objects.create(slug=f"only-{action}", name=f"only-{action}", actions=[action])


def test_a_drain_that_was_approved_after_an_activation_counts(fleet: Fleet) -> None:
    approval_rules_set(actor=SYSTEM, segment=fleet.estate.segment, operations=["host.drain"])
    second = make.user_with("platform-operator")
    late, first = fleet.drain(), fleet.drain()
    job_approve(actor=second, job=first)
    assert work(first).state == State.SUCCEEDED
    assert work(fleet.activate()).state == State.SUCCEEDED
    job_approve(actor=second, job=late)
    assert work(late).state == State.SUCCEEDED
    assert work(fleet.activate()).result["returned"] == 5


def test_who_sees_less_is_told_how_many_do_not_come(fleet: Fleet) -> None:
    hidden = make.segment()
    VM.objects.filter(name__in=["web-1", "web-2"]).update(segment=hidden)
    assert work(fleet.drain()).state == State.SUCCEEDED
    person = make.user_with("platform-operator", fleet.estate.cluster)
    make.grant(person, "maintainer", fleet.estate.segment)
    job = work(fleet.activate(by=person))
    assert job.result == {"returned": 3, "started": 0, "left": 2}
    names = set(VM.objects.filter(pk__in=job.extent).values_list("name", flat=True))
    assert names == {"ledger", "web-3", "web-4"}


def test_a_host_that_was_drained_can_be_removed_with_its_jobs(fleet: Fleet) -> None:
    job = work(fleet.drain())
    parts = list(job.parts.all())
    BrokenGlass.objects.create(job=job, reason="a fire")
    with pytest.raises(InventoryConflict, match="auditor"):
        host_retire(actor=fleet.operator, host=fleet.host)
    BrokenGlass.objects.update(acknowledged_at=timezone.now() - timedelta(seconds=1))
    host_retire(actor=fleet.operator, host=fleet.host)
    assert not Host.objects.filter(name="left").exists()
    assert Job.objects.filter(pk__in=[part.pk for part in parts], parent=None).count() == len(parts)
    assert connect(fleet.hosts[1].uri).list_guests()


def test_a_host_with_work_on_it_is_not_removed(fleet: Fleet) -> None:
    VM.objects.filter(host=fleet.host).update(host=fleet.hosts[1])
    fleet.drain()
    with pytest.raises(InventoryConflict, match="not over"):
        host_retire(actor=fleet.operator, host=fleet.host)
    with pytest.raises(NotAllowed):
        host_retire(actor=make.user_with("placement", fleet.estate.cluster), host=fleet.host)


def test_a_host_to_which_a_vm_is_to_come_is_not_removed(fleet: Fleet) -> None:
    empty = Host.objects.get(name="right")
    job = fleet.estate.submit("vm.migrate", destination="right")
    with pytest.raises(InventoryConflict, match="A VM is on its way to or from right"):
        host_retire(actor=fleet.operator, host=empty)
    job_cancel(actor=SYSTEM, job=job)
    host_retire(actor=fleet.operator, host=empty)


def test_coming_home_costs_the_same_for_few_and_for_many(fleet: Fleet, django_assert_num_queries: Any) -> None:
    from jobs.operations.hosts.homeward import homeward

    for number in range(6):
        fleet.add(f"more-{number}")
    fleet.sync()
    VM.objects.update(segment=fleet.estate.segment)
    assert work(fleet.drain()).state == State.SUCCEEDED
    with django_assert_num_queries(3):
        assert len(homeward(fleet.host).moved) == 11
