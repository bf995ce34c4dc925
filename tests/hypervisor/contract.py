"""What every driver must do, as `hypervisor.protocol` promises it. One suite, run against each driver.

A driver's test module subclasses `HypervisorContract` and has a fixture `estate` that yields an `Estate`:

    class TestSimulated(HypervisorContract):
        @pytest.fixture
        def estate(self) -> Estate: ...

What an estate cannot show (a tiny guest has no agent) is left out of its `supports`; the tests that need it are skipped
and say so. Nothing here waits a fixed time: facts are waited for, at most `patience_seconds`.
"""

from __future__ import annotations

from tests.hypervisor.contract_agent import AgentContract
from tests.hypervisor.contract_base import Estate, Feature
from tests.hypervisor.contract_basics import BasicsContract
from tests.hypervisor.contract_console import ConsoleContract
from tests.hypervisor.contract_migration import MigrationContract
from tests.hypervisor.contract_snapshots import SnapshotContract

__all__ = ["Estate", "Feature", "HypervisorContract"]


class HypervisorContract(BasicsContract, SnapshotContract, MigrationContract, AgentContract, ConsoleContract):
    """The whole contract."""
