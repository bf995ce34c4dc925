"""Emptying a host for maintenance, and bringing its VMs home: jobs whose parts work on the VMs. And
proving the paths that the VMs take."""

from jobs.operations.hosts.activate import Activate
from jobs.operations.hosts.drain import Drain
from jobs.operations.hosts.leftovers import RemoveLeftovers
from jobs.operations.hosts.paths import ProvePaths

__all__ = ["Activate", "Drain", "ProvePaths", "RemoveLeftovers"]
