"""Work on a host or a cluster as a picture: hosts as columns, VMs as blocks; only those that the onlooker sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from access.models import User
from inventory.models import VM, Host
from jobs.models import Job
from jobs.operations.migrate.surroundings import MIGRATE
from jobs.roster import Entry, Fate, Roster

#: Columns of hosts that have no part in it are shown up to so many in all.
COLUMNS_SHOWN = 6
#: Height classes of blocks by memory, in MiB: a block is the taller, the more there is to copy.
SIZES_MIB = (512, 2048, 8192, 32768)


@dataclass(frozen=True, slots=True)
class Block:
    """A VM on a host. `look` is "waits", "leaving", "arriving", "done" or "left"."""

    vm: VM
    look: str
    size: int
    part: Job | None = None
    why: str = ""


@dataclass(slots=True)
class Column:
    """A host with what of the work is on it. Without a host: what is where the onlooker sees no host."""

    host: Host | None
    blocks: list[Block] = field(default_factory=list)


def picture(onlooker: User, job: Job, found: Roster) -> list[Column]:
    """The columns: the host that is worked on first, if it is one, then the others by name."""
    home = job.host
    cluster = home.cluster_id if home is not None else job.cluster_id
    hosts: Any = Host.objects.visible_to(onlooker).filter(cluster=cluster).order_by("name")
    involved = {entry.vm.host_id for entry in found.entries} | {_goes_to(entry) for entry in found.entries}
    others = [host for host in hosts if host != home]
    shown = others if len(others) < COLUMNS_SHOWN else [host for host in others if host.pk in involved]
    columns = {host.pk: Column(host) for host in ([home, *shown] if home is not None else shown)}
    elsewhere = Column(None)
    for entry in found.entries:
        columns.get(entry.vm.host_id or 0, elsewhere).blocks.append(_block(entry, _look(entry)))
        target = columns.get(_goes_to(entry) or 0)
        if target is not None and entry.vm.host_id != _goes_to(entry):
            target.blocks.append(_block(entry, "arriving"))
    return [*columns.values(), *([elsewhere] if elsewhere.blocks else [])]


def _goes_to(entry: Entry) -> int | None:
    """The host that a VM is on its way to."""
    part = entry.part
    if entry.fate is not Fate.UNDER_WAY or part is None or part.operation != MIGRATE:
        return None
    return int(part.params["destination"])


def _look(entry: Entry) -> str:
    return "leaving" if entry.fate is Fate.UNDER_WAY else entry.fate.value


def _block(entry: Entry, look: str) -> Block:
    size = 1 + sum(entry.vm.memory_mib > limit for limit in SIZES_MIB)
    return Block(entry.vm, look, size, entry.part, entry.why)
