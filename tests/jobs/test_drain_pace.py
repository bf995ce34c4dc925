"""A VM that has arrived makes place for the next one while it is verified, and its parent is woken for that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from jobs.engine import context as context_module
from jobs.engine.context import JobContext
from jobs.models import Job
from jobs.operations.hosts import parts as parts_module
from jobs.operations.migrate.destinations import promises_mib
from jobs.operations.migrate.operation import Migrate
from jobs.services import job_submit
from jobs.states import VERIFYING, State
from tests.jobs.conftest import Fleet
from tests.jobs.crew import work

pytestmark = pytest.mark.django_db


def verifying(monkeypatch: pytest.MonkeyPatch, look: Callable[[Job], None]) -> None:
    """Have somebody look at every migration while it is verified."""
    verify = Migrate.verify

    def looked_at(operation: Migrate, context: JobContext) -> None:
        look(context.job)
        verify(operation, context)

    monkeypatch.setattr(Migrate, "verify", looked_at)


def test_one_that_is_verified_keeps_no_place(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    def look(part: Job) -> None:
        parent = Job.objects.get(pk=part.parent_id)
        woken = parent.state
        fleet.estate.run(parent)
        working = Job.objects.working().filter(operation="vm.migrate")
        seen.append((woken, working.count()))
        assert part.pk not in working.values_list("pk", flat=True)

    verifying(monkeypatch, look)
    job = work(fleet.drain(at_once=1))
    assert (job.state, fleet.running_on()["left"]) == (State.SUCCEEDED, []), job.error_message
    assert len(seen) == 5
    # The first is verified while the second is under way already, and so on; beside the last there is none left.
    assert seen == [(State.QUEUED, 1)] * 4 + [(State.QUEUED, 0)]


def test_news_while_the_parent_looks_is_not_missed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that arrives between the parent's look at it and its waiting: the parent looks again at once."""
    job = fleet.drain(at_once=1)
    fleet.estate.run(job)
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED)
    look = parts_module.Parts.wait_if_unfinished

    def arrives_meanwhile(parts: parts_module.Parts) -> None:
        parts.context.job.parts.update(state=State.RUNNING, phase=VERIFYING, heartbeat_at=timezone.now())
        look(parts)

    monkeypatch.setattr(parts_module.Parts, "wait_if_unfinished", arrives_meanwhile)
    fleet.estate.run(Job.objects.get(pk=job.pk))
    job.refresh_from_db()
    assert job.state == State.QUEUED
    monkeypatch.setattr(parts_module.Parts, "wait_if_unfinished", look)
    fleet.estate.run(job)
    job.refresh_from_db()
    assert (job.state, job.parts.count()) == (State.WAITING, 2)


def test_the_next_one_is_told_once_the_memory_of_the_first_counts_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What wakes the drain finds the VM at its new host: its memory is not promised there beside being taken there."""
    promised: list[dict[int, int]] = []
    told = context_module.done

    def look(job: Job) -> None:
        promised.append(promises_mib())
        told(job)

    monkeypatch.setattr(context_module, "done", look)
    vm = fleet.estate.vm
    job = job_submit(actor=fleet.operator, operation="vm.migrate", target=vm, params={})
    assert fleet.estate.run(job).state == State.SUCCEEDED, job.error_message
    assert promised == [{}]


def test_one_that_is_verified_and_lost_its_worker_has_its_place_again(fleet: Fleet) -> None:
    job = fleet.drain(at_once=1)
    fleet.estate.run(job)
    job.parts.update(state=State.LOST, phase=VERIFYING)
    assert Job.objects.working().filter(operation="vm.migrate").count() == 1
