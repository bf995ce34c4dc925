"""How much CPU each VM uses, from what its host's account of it said from time to time.

A host counts the CPU time that a VM's QEMU has used since it was started there. Between two samples of one count lies
a use, in cores; what is kept of it is an exponentially weighted mean, so that one busy second starts no migration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from inventory.models import VM, Host, Load

#: What a sample says counts half as much as what one says that comes this much later.
HALF_LIFE = timedelta(minutes=5)
#: Nobody looked for so long: what was known of the use says nothing about it any more.
FORGOTTEN_AFTER = timedelta(minutes=15)
#: Two samples that are nearer than this are one: the account is kept in steps of some milliseconds.
NEAREST = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Use:
    """What is known of a VM's use: the count and where and when it was read, and the mean in cores, once there is one;
    `since` is when the mean begins.
    """

    host_id: int | None
    cpu_time_ns: int
    observed_at: datetime
    since: datetime
    cores: float | None = None


def after(known: Use | None, host_id: int, cpu_time_ns: int, at: datetime) -> Use:
    """What is known after one more sample. Pure.

    A count on another host, or one that went back, is a new one (the VM moved, or was started anew): it says nothing
    about the use before it, and the mean stays what it was.
    """
    if known is None or at - known.observed_at > FORGOTTEN_AFTER or known.observed_at - at > FORGOTTEN_AFTER:
        return Use(host_id, cpu_time_ns, at, at)  # from a future that is not to come, too: a clock was set back
    past = at - known.observed_at
    if past < NEAREST:
        return known
    if known.host_id != host_id or cpu_time_ns < known.cpu_time_ns:
        return Use(host_id, cpu_time_ns, at, known.since, known.cores)
    used = (cpu_time_ns - known.cpu_time_ns) / 1e9 / past.total_seconds()
    kept = 0.5 ** (past / HALF_LIFE)
    mean = used if known.cores is None else kept * known.cores + (1 - kept) * used
    return Use(host_id, cpu_time_ns, at, known.since, mean)


def cpu_times_observed(host: Host, times_ns: Mapping[str, int], asked_at: datetime) -> int:
    """Take in the counts that a host gave of its running VMs. Returns for how many VMs they were.

    A VM that is elsewhere by now is passed over: its new host counts it.
    """
    vms = dict(VM.objects.filter(host=host, uuid__in=map(UUID, times_ns)).values_list("pk", "uuid"))
    rows = {row.vm_id: row for row in Load.objects.filter(vm__in=vms)}
    fresh = []
    for pk, uuid in vms.items():
        use = after(_known(rows.get(pk)), host.pk, times_ns[str(uuid)], asked_at)
        fresh.append(
            Load(
                vm_id=pk,
                host_id=use.host_id,
                cpu_time_ns=use.cpu_time_ns,
                observed_at=use.observed_at,
                since=use.since,
                cpu_cores=use.cores,
            )
        )
    columns = ["host_id", "cpu_time_ns", "observed_at", "since", "cpu_cores"]
    Load.objects.bulk_create(fresh, batch_size=200, update_conflicts=True, unique_fields=["vm"], update_fields=columns)
    return len(fresh)


def _known(row: Load | None) -> Use | None:
    return Use(row.host_id, row.cpu_time_ns, row.observed_at, row.since, row.cpu_cores) if row is not None else None
