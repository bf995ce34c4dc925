"""A worker that dies anywhere in a drain or its parts: it comes to its end, and every VM runs once, on one host."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from inventory.models import VM, Host
from jobs.models import Job, JobLock
from jobs.operations.migrate import settle
from jobs.states import State
from tests.jobs.conftest import Fleet
from tests.jobs.reaper import Reaper, mortal_work, points


@pytest.fixture(autouse=True)
def _at_full_speed(transactional_db: None, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", "200")
    monkeypatch.setattr(settle, "READINGS_APART", 0.05)
    monkeypatch.setattr("jobs.operations.hosts.tries.FIRST_PAUSE", timedelta(0))


def whole(fleet: Fleet, job: Job, point: int) -> None:
    running = fleet.running_on()
    everything = sorted(name for names in running.values() for name in names)
    assert everything == ["ledger", "web-1", "web-2", "web-3", "web-4"], (point, running)
    assert not JobLock.objects.exists(), point
    assert not Job.objects.unfinished().exists(), point
    assert not job.steps.filter(state="running").exists(), point


@pytest.mark.parametrize("offset", range(2))
def test_a_drain_and_the_way_home_survive_a_death_anywhere(fleet: Fleet, monkeypatch: Any, offset: int) -> None:
    reaper = Reaper(monkeypatch)
    reached = 0
    for point in points(reaper, 29):
        reaper.due = point + offset * 14
        job = mortal_work(fleet.drain(), reaper)
        reaper.due = None
        if job.state != State.SUCCEEDED:  # a migration that was never called was tried as often as it may be
            assert job.error_code == "drain_incomplete", (point, job.error_message)
            job = mortal_work(fleet.drain(), reaper)
        assert job.state == State.SUCCEEDED, (point, job.error_message)
        assert fleet.running_on()["left"] == [], point
        whole(fleet, job, point)
        assert fleet.host.availability == Host.Availability.MAINTENANCE
        home = mortal_work(fleet.activate(), reaper)
        assert home.state == State.SUCCEEDED, (point, home.error_message)
        assert len(fleet.running_on()["left"]) == 5, point
        whole(fleet, home, point)
        reached += 1
    assert reached > 3
    assert not VM.objects.filter(is_split=True).exists()
