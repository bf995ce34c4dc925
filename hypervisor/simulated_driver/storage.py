"""The storage of simulated hosts: one pool, which the hosts of a cluster share."""

from __future__ import annotations

from hypervisor.errors import HypervisorError
from hypervisor.simulated_driver import guests
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.session import Session
from hypervisor.types import MARKER_PREFIX

DIRECTORY, POOL = "/var/lib/libvirt/images", "images"
DISK_BYTES = 10 * 1024**3


class Storage(Session):
    """The protocol's part about storage."""

    def storage_pools(self) -> dict[str, str]:
        """The only pool there is."""
        with self.look():
            return {DIRECTORY: POOL}

    def pool_free(self, pool: str) -> int:
        """Room for ten disks."""
        _must_be(pool)
        with self.look():
            return 10 * DISK_BYTES

    def volume_create(self, pool: str, name: str, *, capacity_bytes: int, image_format: str = "raw") -> None:
        """Create a volume. Raises HypervisorError when there is no such pool, or one of that name."""
        _must_be(pool)
        with self.change() as tx:
            made = tx.execute(
                "INSERT OR IGNORE INTO volumes SELECT cluster, ? FROM hosts WHERE name = ?", (name, self.host)
            )
            if not made.rowcount:
                raise HypervisorError(f"{self.host} has a volume {name} already.")

    def volume_remove(self, pool: str, name: str) -> None:
        """Remove a volume, if it is there."""
        _must_be(pool)
        with self.change() as tx:
            own = "SELECT cluster FROM hosts WHERE name = ?"
            tx.execute(f"DELETE FROM volumes WHERE name = ? AND cluster = ({own})", (name, self.host))  # noqa: S608

    def disk_capacity(self, uuid: str, target: str) -> int:
        """All disks have one size. Raises GuestNotFound."""
        with self.look() as db:
            guests.find(db, self.host, uuid)
        return DISK_BYTES

    def files_in_use(self) -> set[str]:
        """The disks of the host's guests."""
        with self.look() as db:
            rows = db.execute("SELECT config FROM guests WHERE host = ?", (self.host,)).fetchall()
        return {disk.source for row in rows for disk in Config.loads(row["config"]).disks}

    def volume_seen(self, pool: str, name: str) -> bool:
        """Whether this host's cluster has such a volume."""
        _must_be(pool)
        with self.look() as db:
            sql = "SELECT 1 FROM volumes JOIN hosts USING (cluster) WHERE hosts.name = ? AND volumes.name = ?"
            return db.execute(sql, (self.host, name)).fetchone() is not None

    def markers_remove(self, pool: str, prefix: str) -> None:
        """Remove the volumes whose names begin so. Raises HypervisorError for a prefix that is no marker's."""
        _must_be(pool)
        if not prefix.startswith(MARKER_PREFIX):
            raise HypervisorError("Only markers are removed.")
        with self.change() as tx:
            own = "SELECT cluster FROM hosts WHERE name = ?"
            tx.execute(
                f"DELETE FROM volumes WHERE substr(name, 1, ?) = ? AND cluster = ({own})",  # noqa: S608
                (len(prefix), prefix, self.host),
            )


def _must_be(pool: str) -> None:
    if pool != POOL:
        raise HypervisorError(f"There is no pool {pool}.")
