"""Live migration, peer-to-peer: the source's libvirtd owns it, and it goes on when its client dies."""

from __future__ import annotations

import time
from types import MappingProxyType

import libvirt

from hypervisor.errors import (
    GuestStateInvalid,
    MigrationAborted,
    MigrationFailed,
    MigrationRefused,
)
from hypervisor.libvirt_driver.calls import check_wanted
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import ErrorTable
from hypervisor.libvirt_driver.jobinfo import last_migration, read_progress, running_job
from hypervisor.types import Activity, MigrationProgress, MigrationSpec

#: "No cap" in MiB/s: the largest that libvirt takes (QEMU_DOMAIN_MIG_BANDWIDTH_MAX, 2^63 bytes).
#: A cap stays on the domain, so its absence is said each time.
NO_CAP_MIB = (2**63 - 1) // 1024**2
#: The pause that a QEMU allows unless it was told otherwise (DEFAULT_MIGRATE_SET_DOWNTIME, migration/options.c).
QEMU_DOWNTIME_MS = 300
#: The abort request can hang with a dead monitor.
ABORT_SECONDS = 30.0
#: Between two questions whether a measurement of the dirty rate is done, in seconds.
DIRTY_RATE_EVERY = 0.1

#: What libvirt answers before it has begun.
_REFUSED = (
    libvirt.VIR_ERR_OPERATION_INVALID,  # not running, has snapshots, another migration runs, exists there
    libvirt.VIR_ERR_MIGRATE_UNSAFE,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_CPU_INCOMPATIBLE,
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_DOM_EXIST,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_NO_NWFILTER,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,  # the source's job lock was not free
    libvirt.VIR_ERR_RESOURCE_BUSY,
    libvirt.VIR_ERR_OPERATION_DENIED,
    libvirt.VIR_ERR_ACCESS_DENIED,
    libvirt.VIR_ERR_AUTH_FAILED,  # of the source towards the destination
)
# Transport errors while our own connection stands are between the two hosts.
_BETWEEN_HOSTS = (
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_GNUTLS_ERROR,
    libvirt.VIR_ERR_SSH,
    libvirt.VIR_ERR_LIBSSH,
    libvirt.VIR_ERR_UNKNOWN_HOST,
    libvirt.VIR_ERR_NO_CONNECT,
)
_MIGRATE_ERRORS: ErrorTable = MappingProxyType(
    {libvirt.VIR_ERR_OPERATION_ABORTED: MigrationAborted}
    | dict.fromkeys(_REFUSED, MigrationRefused)
    | dict.fromkeys(_BETWEEN_HOSTS, MigrationFailed)
)


class Migrating(LibvirtConnection):
    """The protocol's `Migrating`, called on the source."""

    @remote(seconds=None, otherwise=MigrationFailed, table=_MIGRATE_ERRORS)
    def migrate(self, uuid: str, destination_uri: str, spec: MigrationSpec) -> None:
        """Migrate peer-to-peer; blocks until the hypervisors are done, which happens even if this process dies.

        Raises GuestNotFound, MigrationRefused, MigrationAborted, MigrationFailed, HostUnreachable.
        """
        domain = self.domain(uuid)
        if spec.max_downtime_ms < QEMU_DOWNTIME_MS and not spec.resume:
            domain.migrateSetMaxDowntime(spec.max_downtime_ms)
        parameters: dict[str, object] = {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: spec.bandwidth_mib or NO_CAP_MIB}
        if spec.copied:
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(spec.copied)
        domain.migrateToURI3(destination_uri, parameters, migration_flags(spec))

    @remote(seconds=90.0)
    def dirty_rate(self, uuid: str, *, seconds: int = 1) -> int:
        """Measure how much memory a running guest writes, in bytes per second, by QEMU's samples of its pages.

        Raises GuestNotFound, GuestStateInvalid for a guest that is off.
        """
        domain = self.domain(uuid)
        domain.startDirtyRateCalc(seconds)
        while True:
            time.sleep(DIRTY_RATE_EVERY)
            check_wanted()
            ((_domain, facts),) = self.handle.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_DIRTYRATE)
            if facts.get("dirtyrate.calc_status") == libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
                return int(facts["dirtyrate.megabytes_per_second"]) * 1024**2

    @remote()
    def migration_progress(self, uuid: str) -> MigrationProgress:
        """Progress of an outgoing migration; activity NONE when there is none. Raises GuestNotFound, GuestBusy."""
        activity, stats = running_job(self, self.domain(uuid))
        if activity is not Activity.MIGRATION_OUT:
            return MigrationProgress(Activity.NONE)
        return read_progress(activity, stats, completed=False)

    @remote()
    def completed_migration(self, uuid: str) -> MigrationProgress | None:
        """Figures of the last completed migration of a guest that is here, without consuming them."""
        return last_migration(self, self.domain(uuid))

    @remote(seconds=ABORT_SECONDS)
    def migration_abort(self, uuid: str) -> None:
        """Ask to cancel. Raises GuestStateInvalid if there is no migration to cancel, or it is past the point."""
        domain = self.domain(uuid)
        if running_job(self, domain)[0] is not Activity.MIGRATION_OUT:
            raise GuestStateInvalid("No migration of this guest leaves this host.")
        domain.abortJob()

    @remote()
    def migration_set_downtime(self, uuid: str, milliseconds: int) -> None:
        """Set the longest allowed stop-and-copy pause; it stays set for later migrations."""
        self.domain(uuid).migrateSetMaxDowntime(milliseconds)

    @remote()
    def migration_set_bandwidth(self, uuid: str, mib_per_second: int) -> None:
        """Cap the copy's bandwidth; 0 lifts the cap."""
        self.domain(uuid).migrateSetMaxSpeed(mib_per_second or NO_CAP_MIB)

    @remote()
    def migration_start_postcopy(self, uuid: str) -> None:
        """Switch to post-copy. Raises GuestStateInvalid unless a migration with `allow_postcopy` runs."""
        self.domain(uuid).migrateStartPostCopy()


def migration_flags(spec: MigrationSpec) -> int:
    """libvirt's flags for a migration."""
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    for wanted, more in (
        (spec.persistent, libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE),
        (spec.auto_converge, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
        (spec.allow_postcopy, libvirt.VIR_MIGRATE_POSTCOPY),
        (spec.unsafe, libvirt.VIR_MIGRATE_UNSAFE),
        (spec.resume, libvirt.VIR_MIGRATE_POSTCOPY_RESUME),
        (spec.encrypted, libvirt.VIR_MIGRATE_TLS),
        (bool(spec.copied), libvirt.VIR_MIGRATE_NON_SHARED_DISK),
    ):
        if wanted:
            flags |= more
    return int(flags)
