"""The storage of simulated hosts: one pool, which the hosts of a cluster share."""

from __future__ import annotations

from hypervisor.errors import HypervisorError
from hypervisor.simulated_driver.session import Session
from hypervisor.types import MARKER_PREFIX

DIRECTORY, POOL = "/var/lib/libvirt/images", "images"


class Storage(Session):
    """The protocol's part about storage."""

    def storage_pools(self) -> dict[str, str]:
        """The only pool there is."""
        with self.look():
            return {DIRECTORY: POOL}

    def marker_create(self, pool: str, name: str) -> None:
        """Create a volume. Raises HypervisorError when there is no such pool, or one of that name."""
        _must_be(pool)
        with self.change() as tx:
            made = tx.execute(
                "INSERT OR IGNORE INTO markers SELECT cluster, ? FROM hosts WHERE name = ?", (name, self.host)
            )
            if not made.rowcount:
                raise HypervisorError(f"{self.host} has a volume {name} already.")

    def marker_seen(self, pool: str, name: str) -> bool:
        """Whether this host's cluster has such a volume."""
        _must_be(pool)
        with self.look() as db:
            sql = "SELECT 1 FROM markers JOIN hosts USING (cluster) WHERE hosts.name = ? AND markers.name = ?"
            return db.execute(sql, (self.host, name)).fetchone() is not None

    def markers_remove(self, pool: str, prefix: str) -> None:
        """Remove the volumes whose names begin so. Raises HypervisorError for a prefix that is no marker's."""
        _must_be(pool)
        if not prefix.startswith(MARKER_PREFIX):
            raise HypervisorError("Only markers are removed.")
        with self.change() as tx:
            own = "SELECT cluster FROM hosts WHERE name = ?"
            tx.execute(
                f"DELETE FROM markers WHERE substr(name, 1, ?) = ? AND cluster = ({own})",  # noqa: S608
                (len(prefix), prefix, self.host),
            )


def _must_be(pool: str) -> None:
    if pool != POOL:
        raise HypervisorError(f"There is no pool {pool}.")
