"""One host through libvirt: the parts put together."""

from __future__ import annotations

from hypervisor.libvirt_driver.agent import Agent
from hypervisor.libvirt_driver.canary import Canaries
from hypervisor.libvirt_driver.console import Consoles
from hypervisor.libvirt_driver.defining import Defining
from hypervisor.libvirt_driver.lacking import Lacking
from hypervisor.libvirt_driver.migration import Migrating
from hypervisor.libvirt_driver.powering import Powering
from hypervisor.libvirt_driver.snapshots import Snapshotting
from hypervisor.libvirt_driver.watching import Watching


class LibvirtHypervisor(Lacking, Watching, Powering, Snapshotting, Migrating, Canaries, Defining, Agent, Consoles):
    """A connection to one host that keeps `protocol.Hypervisor`."""
