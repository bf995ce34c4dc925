"""A host is removed for good while a VM is to go there."""

from __future__ import annotations

import pytest

from access.gate import SYSTEM
from hypervisor.simulated_driver.driver import SimulatedHypervisor
from inventory.errors import InventoryConflict
from inventory.models import Host
from inventory.services.hosts import host_delete
from jobs.models import JobLock
from jobs.retiring import host_retire
from jobs.states import State
from tests.jobs.conftest import Estate


@pytest.fixture(autouse=True)
def _real_transactions(transactional_db):
    """A worker's threads see only what was committed."""


def retire(host: Host) -> None:
    host_retire(actor=SYSTEM, host=Host.objects.get(pk=host.pk))


def test_a_host_stays_while_a_migration_to_it_is_under_way(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    right, migrate = estate.hosts[1], SimulatedHypervisor.migrate
    tried = []

    def meanwhile(*args, **kwargs) -> None:
        with pytest.raises(InventoryConflict, match="on its way"):
            retire(right)
        tried.append(right)
        migrate(*args, **kwargs)

    job = estate.submit("vm.migrate", destination=right.pk)
    with pytest.raises(InventoryConflict):
        retire(right)
    monkeypatch.setattr(SimulatedHypervisor, "migrate", meanwhile)
    job = estate.run(job)
    assert (job.state, tried) == (State.SUCCEEDED, [right]), job.error_message


def test_a_migration_whose_host_is_gone_all_the_same_fails_with_the_reason(estate: Estate) -> None:
    right = estate.hosts[1]
    job = estate.submit("vm.migrate", destination=right.pk)
    host_delete(actor=SYSTEM, host=Host.objects.get(pk=right.pk))  # past what asks for the jobs
    job = estate.run(job)
    assert (job.state, job.error_code) == (State.FAILED, "host_gone"), job.traceback
    assert "right was removed" in job.error_message
    assert not JobLock.objects.exists()
