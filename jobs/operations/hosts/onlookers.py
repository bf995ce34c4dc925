"""Whether a file on one host is in use on another: hosts that see the same storage keep it in the same directory, but
so do hosts that do not.
"""

from __future__ import annotations

from functools import partial
from posixpath import dirname
from typing import TYPE_CHECKING

from django.db.models import Q

from hypervisor.errors import HypervisorError
from hypervisor.protocol import Hypervisor
from hypervisor.types import MARKER_PREFIX
from inventory.models import Host, Leftover
from jobs.operations.waiting import wait_for

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

MARKER_BYTES = 1024**2
#: A host on which a new file has not shown up for so long, in seconds, has another directory: what NFS knows of one is
#: up to 60 s old (`acdirmax` in nfs(5)).
SHOWS_WITHIN = 65.0
LOOK_EVERY = 5.0


class Onlookers:
    """The other hosts of the cluster, and the present host of a file's VM, asked by one run of a job."""

    def __init__(self, context: JobContext, host: Host) -> None:
        self._context, self._host = context, host
        self._apart: set[tuple[int, str]] = set()  # (host, directory): seen to be another one there

    def against(self, leftover: Leftover, pool: str) -> str:
        """Why a file has to stay because of another host; "" when none uses it. `pool` is where it is on its own."""
        directory = dirname(leftover.path)
        try:
            naming = [other for other in self._others(leftover) if self._names(other, leftover.path)]
            unknown = [other for other in naming if (other.pk, directory) not in self._apart]
            if not unknown:
                return ""
            places = [(self._context.on(other), self._pool_of(other, directory)) for other in unknown]
            if not all(place for _, place in places):
                return "a VM of another host names it, and nobody can tell whether it is the same file"
            if self._is_seen(leftover, pool, places):
                return "a VM of another host uses it, which sees the same directory"
        except HypervisorError:
            return "another host, which may use it, does not answer"
        self._apart |= {(other.pk, directory) for other in unknown}
        return ""

    def _others(self, leftover: Leftover) -> list[Host]:
        concerned = Q(cluster=self._host.cluster_id) | Q(vms=leftover.vm_id)
        return list(Host.objects.filter(concerned).exclude(pk=self._host.pk).distinct())

    def _names(self, other: Host, path: str) -> bool:
        return path in self._context.on(other).files_in_use()

    def _pool_of(self, other: Host, directory: str) -> str:
        return self._context.on(other).storage_pools().get(directory, "")

    def _is_seen(self, leftover: Leftover, pool: str, places: list[tuple[Hypervisor, str]]) -> bool:
        """Whether one of them sees a volume that is created beside the file. Raises HypervisorError."""
        here, prefix = self._context.on(self._host), f"{MARKER_PREFIX}leftover-{leftover.pk}-"
        marked = partial(_marked, self._context, here, pool, prefix, places)
        return self._context.effect("prove_storage", marked, host=self._host, pool=pool)


def _marked(
    context: JobContext, here: Hypervisor, pool: str, prefix: str, places: list[tuple[Hypervisor, str]]
) -> bool:
    name = prefix + context.token

    def shows_up() -> bool | None:
        return any(there.volume_seen(place, name) for there, place in places) or None

    here.markers_remove(pool, prefix)
    try:
        here.volume_create(pool, name, capacity_bytes=MARKER_BYTES)
        return bool(wait_for(context, shows_up, seconds=SHOWS_WITHIN, every=LOOK_EVERY))
    finally:
        here.markers_remove(pool, prefix)
