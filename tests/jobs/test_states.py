"""The one table of states, and that nothing changes a state beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from audit.models import AuditEvent
from jobs.errors import Fenced, InvalidTransition
from jobs.models import Job, JobLock
from jobs.states import LEASED, LOCKING, TERMINAL, TRANSITIONS, State, allowed
from jobs.transitions import advance, write
from tests import factories as make

ROOT = Path(__file__).parents[2]


def test_every_state_can_end_and_every_end_is_final():
    for state in State:
        assert (not TRANSITIONS[state]) == (state in TERMINAL)
    reachable, grown = {State.QUEUED}, True
    while grown:
        more = {to for state in reachable for to in TRANSITIONS[state]}
        grown, reachable = not more <= reachable, reachable | more
    assert reachable >= TERMINAL | LEASED | {State.LOST}


def test_no_other_code_writes_a_state():
    """`state=` in an update or assignment of a job stands in `transitions.py` alone."""
    pattern = re.compile(r"\.update\([^)]*\bstate=|job\.state\s*=[^=]")
    offenders = [
        str(path.relative_to(ROOT))
        for package in ("jobs", "portal", "inventory")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "transitions.py" and "migrations" not in path.parts
        for line in path.read_text().splitlines()
        if pattern.search(line) and "Step." not in line
    ]
    assert offenders == []


@pytest.mark.django_db
@pytest.mark.parametrize("current", State)
@pytest.mark.parametrize("to", State)
def test_a_job_goes_only_where_the_table_lets_it(current, to):
    job = make.job(make.vm(), by=make.user(), state=current)
    before = AuditEvent.objects.count()
    if not allowed(current, to):
        with pytest.raises(InvalidTransition):
            advance(job, to)
        assert AuditEvent.objects.count() == before
        return
    advance(job, to)
    assert Job.objects.get(pk=job.pk).state == to
    assert AuditEvent.objects.count() == before + 1
    assert JobLock.objects.filter(job=job).exists() == (current in LOCKING and to not in TERMINAL)


@pytest.mark.django_db
def test_a_worker_that_lost_the_job_changes_nothing():
    job = make.job(make.vm(), by=make.user())
    stale = Job.objects.get(pk=job.pk)
    advance(job, State.RUNNING)
    with pytest.raises(Fenced):
        advance(stale, State.RUNNING)
    old_worker = Job.objects.get(pk=job.pk)
    advance(Job.objects.get(pk=job.pk), State.LOST)
    advance(Job.objects.get(pk=job.pk), State.QUEUED)
    advance(Job.objects.get(pk=job.pk), State.RUNNING)
    with pytest.raises(Fenced):
        write(old_worker, percent=50)
    with pytest.raises(Fenced):
        advance(old_worker, State.SUCCEEDED)
    fresh = Job.objects.get(pk=job.pk)
    assert (fresh.state, fresh.percent, fresh.fence) == (State.RUNNING, 0, 2)
