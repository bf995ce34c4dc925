"""The contract, kept by the simulated driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypervisor.connect import connect
from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.definition import Config
from hypervisor.types import NIC, Disk, MigrationSpec
from hypervisor.uri import ALL_SCHEMES, parse_host_uri
from tests.hypervisor.contract import Estate, Feature, HypervisorContract


class SimulatedEstate:
    """Two hosts and a guest of 512 MiB."""

    first_uri = "sim://one/"
    second_uri = "sim://two/"
    guest = "5a1f8c6e-0d5b-4a53-9f0e-7f1f0c1b2a3d"
    supports = frozenset(Feature)
    patience_seconds = 20.0
    spec = MigrationSpec()
    slow_spec = MigrationSpec(bandwidth_mib=20)

    def open(self, uri: str) -> Hypervisor:
        """A connection, as the rest of Slipway gets one."""
        return connect(parse_host_uri(uri, allowed=ALL_SCHEMES))

    def reset(self) -> None:
        """Everything anew."""
        simulated.wipe()
        simulated.create_hosts([simulated.SimulatedHost("one"), simulated.SimulatedHost("two")])
        disk = Disk("vda", "disk", "/images/guest.qcow2", "qcow2", "none", False)
        config = Config(dirty_mib=2, hot_mib=16, nics=(NIC("52:54:00:00:00:01", "network", "default"),), disks=(disk,))
        simulated.create_guest("one", "guest", uuid=self.guest, memory_mib=512, config=config)


class TestSimulated(HypervisorContract):
    """The whole contract; time runs 10 times as fast."""

    @pytest.fixture
    def estate(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Estate:
        monkeypatch.setenv("SLIPWAY_SIM_STATE", str(tmp_path / "estate.sqlite3"))
        monkeypatch.setenv("SLIPWAY_SIM_SPEED", "10")
        return SimulatedEstate()
