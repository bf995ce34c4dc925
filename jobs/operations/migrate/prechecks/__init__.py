"""What must hold before a migration starts: named verdicts, each with what to do about it. Live and read-only.

`facts` asks the hosts; the rest decides, without asking anybody: `guest` whether the VM can leave, `destination`
whether the other host can take it, `hardware` whether it finds the same machine there, `storage` its disks.
"""

from __future__ import annotations

from jobs.engine.context import Verdict
from jobs.operations.migrate.prechecks import destination, guest, hardware, storage
from jobs.operations.migrate.prechecks.destination import OVERHEAD_MIB
from jobs.operations.migrate.prechecks.facts import Facts, read_facts

__all__ = ["OVERHEAD_MIB", "Facts", "read_facts", "verdicts"]


def verdicts(facts: Facts) -> list[Verdict]:
    """All checks, cheap ones first."""
    return [
        destination.taking(facts),
        destination.rules(facts),
        destination.path(facts),
        destination.identity(facts),
        destination.name_free(facts),
        guest.steady(facts),
        guest.idle(facts),
        guest.disks_idle(facts),
        guest.saved(facts),
        guest.devices(facts),
        storage.storage(facts),
        storage.copying(facts),
        guest.emulation(facts),
        hardware.versions(facts),
        hardware.machine(facts),
        hardware.cpu(facts),
        hardware.cpu_features(facts),
        hardware.firmware(facts),
        destination.files(facts),
        destination.networks(facts),
        destination.filters(facts),
        destination.capacity(facts),
    ]
