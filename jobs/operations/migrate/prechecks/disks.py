"""A VM's disks before a migration: which are shared, and what it takes to copy the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from posixpath import basename, dirname

from hypervisor.protocol import Hypervisor
from hypervisor.types import Disk, GuestDefinition
from inventory.models import Host, HostPair, Leftover

#: Image formats that are written anew at the destination.
COPIED_FORMATS = frozenset({"qcow2", "raw"})


@dataclass(frozen=True, slots=True)
class Copy:
    """A disk that is to be copied: the volume for it at the destination, and what speaks against that."""

    target: str
    path: str
    pool: str  # "" when the destination has none in that directory
    name: str
    image_format: str
    capacity_bytes: int
    free_bytes: int
    is_taken: bool


def writable(definition: GuestDefinition) -> list[Disk]:
    """The disks that hold what the guest writes."""
    return [disk for disk in definition.disks if disk.source and not disk.read_only]


def shared_how(disk: Disk, source: Host, path: HostPair | None, old: Collection[str] = ()) -> str:
    """Why a disk is taken to be shared; "" when it is not. What was proved goes before what was declared; of the `old`
    files that is not believed.
    """
    if disk.source_kind == "network":
        return "on the network"
    if disk.source_kind == "file" and path is not None and path.shares(dirname(disk.source)):
        return "seen to be shared"
    return "shared by the cluster's declaration" if source.cluster.shared_storage and disk.source not in old else ""


def old_copies(disks: Sequence[Disk], destination: Host, there: Hypervisor) -> frozenset[str]:
    """Files at the paths of these disks that VMs left at the destination when they were copied away from it: a VM that
    was handed such a one for its disk would go on with what it held then. Raises HypervisorError.
    """
    at = Leftover.objects.filter(host=destination, removed_at=None, path__in=[disk.source for disk in disks])
    paths = set(at.values_list("path", flat=True))
    pools = there.storage_pools() if paths else {}
    placed = [(path, pools[dirname(path)]) for path in paths if dirname(path) in pools]
    return frozenset(path for path, pool in placed if there.volume_seen(pool, basename(path)))


def read_copies(disks: Sequence[Disk], uuid: str, here: Hypervisor, there: Hypervisor) -> tuple[Copy, ...]:
    """What it takes to copy these disks; those of a kind that is not copied are left out. Raises HypervisorError.

    One that several guests write is none that is: the others would go on with the old file.
    """
    files = [
        disk for disk in disks if disk.source_kind == "file" and disk.format in COPIED_FORMATS and not disk.shareable
    ]
    if not files:
        return ()
    sizes = here.together(lambda: {disk.target: here.disk_capacity(uuid, disk.target) for disk in files})
    return there.together(lambda: tuple(_copy(disk, sizes[disk.target], there) for disk in files))


def _copy(disk: Disk, size: int, there: Hypervisor) -> Copy:
    pool, name = there.storage_pools().get(dirname(disk.source), ""), basename(disk.source)
    return Copy(
        target=disk.target,
        path=disk.source,
        pool=pool,
        name=name,
        image_format=disk.format,
        capacity_bytes=size,
        free_bytes=there.pool_free(pool) if pool else 0,
        is_taken=there.volume_seen(pool, name) if pool else False,
    )
