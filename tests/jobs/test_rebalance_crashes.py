"""A worker that dies anywhere in a rebalance or its parts: it comes to its end, and every VM runs once, on one host."""

from __future__ import annotations

from typing import Any

from inventory.models import VM
from jobs.services import job_submit
from jobs.states import State
from tests.jobs.conftest import Fleet
from tests.jobs.reaper import Reaper, mortal_work, points
from tests.jobs.test_drain_crashes import _at_full_speed, whole  # noqa: F401 - a fixture
from tests.jobs.test_rebalance import BUSY, uses

NAMES = ("web-1", "web-2", "web-3", "web-4")


def test_a_rebalance_survives_a_death_anywhere(fleet: Fleet, monkeypatch: Any) -> None:
    monkeypatch.setattr("jobs.operations.rebalance.reading.COOL_DOWN_S", 0.0)
    reaper = Reaper(monkeypatch)
    reached = 0
    for point in points(reaper, 9):
        crowd = max(fleet.running_on().values(), key=len)
        uses(0.0, *NAMES, "ledger")
        uses(BUSY, *crowd)
        job = job_submit(
            actor=fleet.operator, operation="cluster.rebalance", target=fleet.estate.cluster, params={"mode": "run"}
        )
        job = mortal_work(job, reaper)
        reaper.due = None
        # A migration that was never called was tried as often as it may be; what was read meanwhile may have changed.
        assert job.state == State.SUCCEEDED or job.error_code == "rebalance_incomplete", (point, job.error_message)
        moved = {part.vm_id for part in job.parts.filter(state=State.SUCCEEDED)}
        assert len(moved) == job.result["moved"], point
        assert moved | set(map(int, job.journal["left"])) == {move["vm"] for move in job.journal["plan"]["moves"]}
        whole(fleet, job, point)
        reached += 1
    assert reached > 3
    assert not VM.objects.filter(is_split=True).exists()
