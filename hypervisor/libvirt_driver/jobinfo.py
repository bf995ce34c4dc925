"""What `virDomainGetJobStats` says, as an Activity or a MigrationProgress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import libvirt

from hypervisor.errors import GuestStateInvalid, NotSupported
from hypervisor.libvirt_driver.connection import LibvirtConnection
from hypervisor.libvirt_driver.errors import ErrorTable, translated
from hypervisor.libvirt_driver.states import job_activity
from hypervisor.types import Activity, MigrationProgress

_MIGRATIONS = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)
_LAST_JOB = libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED


class IncomingMigration(NotSupported):
    """libvirt refuses statistics of an incoming migration: they are the source's."""


_ERRORS: ErrorTable = MappingProxyType({libvirt.VIR_ERR_OPERATION_UNSUPPORTED: IncomingMigration})


def running_job(connection: LibvirtConnection, domain: libvirt.virDomain) -> tuple[Activity, Mapping[str, Any]]:
    """The job that runs on a domain, and its statistics. Raises GuestBusy after 30 s of waiting for the job lock."""
    try:
        with translated(connection.is_alive, table=_ERRORS):
            stats: dict[str, Any] = domain.jobStats()
    except GuestStateInvalid:
        return Activity.NONE, {}  # the guest is off
    except IncomingMigration:
        return Activity.MIGRATION_IN, {}
    return job_activity(stats.get("type", 0), stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0)), stats


def last_migration(connection: LibvirtConnection, domain: libvirt.virDomain) -> MigrationProgress | None:
    """The last completed migration of a domain, on its source or its destination; it stays there to be read again."""
    try:
        with translated(connection.is_alive, table=_ERRORS):
            stats: dict[str, Any] = domain.jobStats(_LAST_JOB)
    except (GuestStateInvalid, IncomingMigration):
        return None
    if stats.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED:
        return None
    return completed_progress(stats)


def completed_progress(stats: Mapping[str, Any]) -> MigrationProgress | None:
    """Figures of a finished job, None if it was no migration."""
    operation: int = stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, libvirt.VIR_DOMAIN_JOB_OPERATION_UNKNOWN)
    if operation not in _MIGRATIONS:
        return None
    return read_progress(job_activity(libvirt.VIR_DOMAIN_JOB_UNBOUNDED, operation), stats, completed=True)


def read_progress(activity: Activity, stats: Mapping[str, Any], *, completed: bool) -> MigrationProgress:
    """libvirt's figures in ours. libvirt counts the dirty rate in pages, all else in bytes and milliseconds."""

    def figure(name: str) -> int:
        return max(0, int(stats.get(name, 0)))

    return MigrationProgress(
        activity=activity,
        completed=completed,
        elapsed_ms=figure(libvirt.VIR_DOMAIN_JOB_TIME_ELAPSED),
        downtime_ms=figure(libvirt.VIR_DOMAIN_JOB_DOWNTIME),
        setup_ms=figure(libvirt.VIR_DOMAIN_JOB_SETUP_TIME),
        memory_total_bytes=figure(libvirt.VIR_DOMAIN_JOB_MEMORY_TOTAL),
        memory_remaining_bytes=figure(libvirt.VIR_DOMAIN_JOB_MEMORY_REMAINING),
        memory_processed_bytes=figure(libvirt.VIR_DOMAIN_JOB_MEMORY_PROCESSED),
        memory_bps=figure(libvirt.VIR_DOMAIN_JOB_MEMORY_BPS),
        dirty_bps=figure(libvirt.VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE) * figure(libvirt.VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE),
        iteration=figure(libvirt.VIR_DOMAIN_JOB_MEMORY_ITERATION),
        throttle_percent=figure(libvirt.VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE),
        disk_total_bytes=figure(libvirt.VIR_DOMAIN_JOB_DISK_TOTAL),
        disk_remaining_bytes=figure(libvirt.VIR_DOMAIN_JOB_DISK_REMAINING),
        postcopy_requests=figure(libvirt.VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS),
    )


def event_data(stats: Mapping[str, Any]) -> dict[str, Any]:
    """What a JOB_COMPLETED event carries: `success`, and MigrationProgress's fields when it was a migration."""
    data: dict[str, Any] = {"success": bool(stats.get(libvirt.VIR_DOMAIN_JOB_SUCCESS, True))}
    progress = completed_progress(stats)
    if progress is not None:
        data |= asdict(progress)
    return data
