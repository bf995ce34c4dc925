"""Proving paths while a host is removed, or where something else has a canary's UUID."""

from __future__ import annotations

from typing import Any

import pytest

from access.gate import SYSTEM
from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.driver import SimulatedHypervisor
from hypervisor.types import PowerState
from inventory.models import Host, HostPair
from inventory.paths import path_between
from inventory.services.hosts import host_delete
from jobs.states import State
from tests.jobs.conftest import Estate, Fleet
from tests.jobs.test_paths import prove


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db):
    """A worker's threads see only what was committed."""


@pytest.mark.parametrize("moment", ["guest_state", "canary_start", "markers_remove"])
def test_a_host_that_is_removed_meanwhile_is_passed_over(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Past what refuses it while paths are proved: that looked just before this job was there."""
    HostPair.objects.all().delete()
    original = getattr(SimulatedHypervisor, moment)

    def removed(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(SimulatedHypervisor, moment, original)
        host_delete(actor=SYSTEM, host=Host.objects.get(name="third"))
        return original(*args, **kwargs)

    monkeypatch.setattr(SimulatedHypervisor, moment, removed)
    job = fleet.estate.run(prove(fleet.estate))
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.result == {"proved": 2, "broken": 0, "unproved": 0}


def test_the_path_to_a_host_that_is_removed_while_the_canary_flies_is_forgotten(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    HostPair.objects.all().delete()
    fly, flown = SimulatedHypervisor.migrate, []

    def removed(*args: Any, **kwargs: Any) -> Any:
        flown.append(args[2])
        if str(args[2]).startswith("sim://third"):
            host_delete(actor=SYSTEM, host=Host.objects.get(name="third"))
        return fly(*args, **kwargs)

    monkeypatch.setattr(SimulatedHypervisor, "migrate", removed)
    job = fleet.estate.run(prove(fleet.estate))
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.result["proved"] == 2


def test_a_vm_that_has_a_canarys_uuid_is_not_switched_off(estate: Estate) -> None:
    """Defined from the canary's XML by somebody on the host, say."""
    left, right = estate.hosts
    pair = path_between(left, right)
    simulated.create_guest("right", "cloned", uuid=str(pair.canary), memory_mib=512)
    job = estate.run(prove(estate))
    assert connect(right.uri).guest_state(str(pair.canary)).state is PowerState.RUNNING
    assert (job.state, job.error_code) == (State.FAILED, "path_broken")
    assert any("is no canary" in one.why for one in HostPair.objects.all())
