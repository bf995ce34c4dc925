"""Emptying a host for maintenance, and bringing its VMs home: jobs whose parts work on the VMs."""

from jobs.operations.hosts.activate import Activate
from jobs.operations.hosts.drain import Drain

__all__ = ["Activate", "Drain"]
