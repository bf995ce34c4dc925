"""Two simulated hosts with one guest, for the tests of what only the simulated driver has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver import estate, open_simulated
from hypervisor.simulated_driver.definition import Config

T = TypeVar("T")
GUEST = "11111111-2222-4333-8444-555555555555"
PATIENCE_SECONDS = 20.0


class TwoHosts:
    """Hosts "one" and "two" of one cluster; the guest runs on "one". Time runs 10 times as fast."""

    speed = "10"

    @pytest.fixture(autouse=True)
    def _estate(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLIPWAY_SIM_STATE", str(tmp_path / "estate.sqlite3"))
        monkeypatch.setenv("SLIPWAY_SIM_SPEED", self.speed)
        estate.create_hosts([estate.SimulatedHost("one"), estate.SimulatedHost("two")])
        estate.create_guest("one", "guest", uuid=GUEST, memory_mib=512, config=Config(dirty_mib=2, hot_mib=16))

    @pytest.fixture
    def one(self, _estate: None) -> Iterator[Hypervisor]:
        """A connection to the host on which the guest runs."""
        connection = open_simulated("one")
        yield connection
        connection.close()

    @pytest.fixture
    def two(self, _estate: None) -> Iterator[Hypervisor]:
        """A connection to the other host."""
        connection = open_simulated("two")
        yield connection
        connection.close()


def eventually(fact: Callable[[], T]) -> T:
    """Wait until `fact()` is true, and return it."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not (value := fact()):
        assert time.monotonic() < give_up, f"did not come true; last: {value!r}"
        time.sleep(0.005)
    return value
