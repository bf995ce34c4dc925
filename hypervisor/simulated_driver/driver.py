"""The simulated hypervisor: all parts of the protocol on one connection."""

from __future__ import annotations

from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver.agent import Agent
from hypervisor.simulated_driver.console import Consoles
from hypervisor.simulated_driver.defining import Defining
from hypervisor.simulated_driver.migrating import Migrating
from hypervisor.simulated_driver.observing import Observing
from hypervisor.simulated_driver.powering import Powering
from hypervisor.simulated_driver.snapshotting import Snapshotting
from hypervisor.simulated_driver.storage import Storage


class SimulatedHypervisor(Observing, Powering, Snapshotting, Migrating, Storage, Defining, Agent, Consoles):
    """One connection to one simulated host; see `hypervisor.protocol.Hypervisor`."""


def open_simulated(host_name: str) -> Hypervisor:
    """Connect to a host of the simulated estate. Raises HostUnreachable, AccessDenied."""
    return SimulatedHypervisor(host_name)
