"""Having the paths between hosts proved without anybody asking: when a host is new, and every day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.utils import timezone

from access.gate import SYSTEM
from audit.context import acting_as
from inventory.models import Host, HostPair
from jobs.errors import NotAdmitted, TargetBusy
from jobs.models import Job
from jobs.operations.hosts.paths import PROVE_PATHS
from jobs.services import job_submit

#: A path that was proved is proved again after a day; one that is broken, or that nobody could prove, after an hour.
PROVED_FOR, RETRIED_AFTER = timedelta(days=1), timedelta(hours=1)


def prove_due() -> int:
    """Submit a job for one host of each cluster that has a path to be proved: while it runs it has its cluster's paths
    to itself. Returns how many were submitted.
    """
    with acting_as(SYSTEM, via="system"):
        return sum(_submitted(hosts) for hosts in _clusters().values())


def due_hosts(
    hosts: Iterable[Host], pairs: Iterable[HostPair], asked: Mapping[int, datetime], now: datetime
) -> list[Host]:
    """Those of a cluster's hosts that have a path to or from another one that is due, and were not asked to prove
    theirs within the hour. `asked` says when that was asked of each last. Pure.
    """
    standing = sorted(hosts, key=lambda host: host.pk)
    known = {(pair.source_id, pair.destination_id): pair for pair in pairs}
    found = []
    for host in standing:
        last = asked.get(host.pk)
        if last is not None and now - last < RETRIED_AFTER:
            continue
        others = [other.pk for other in standing if other.pk != host.pk]
        routes = [route for other in others for route in ((host.pk, other), (other, host.pk))]
        if any(_is_due(known.get(route), now) for route in routes):
            found.append(host)
    return found


def _is_due(pair: HostPair | None, now: datetime) -> bool:
    if pair is None or pair.proved_at is None:
        return True
    return now - pair.proved_at >= (PROVED_FOR if pair.ok else RETRIED_AFTER)


def _clusters() -> dict[int, list[Host]]:
    """Hosts that answer, by cluster."""
    found: dict[int, list[Host]] = {}
    for host in Host.objects.filter(connection=Host.Connection.ONLINE):
        found.setdefault(host.cluster_id, []).append(host)
    return found


def _submitted(hosts: list[Host]) -> bool:
    now = timezone.now()
    pairs = HostPair.objects.filter(source__in=hosts, destination__in=hosts)
    jobs = Job.objects.filter(operation=PROVE_PATHS, host__in=hosts, created_at__gt=now - RETRIED_AFTER)
    asked = {pk: at for pk, at in jobs.order_by("created_at").values_list("host", "created_at") if pk is not None}
    for host in due_hosts(hosts, pairs, asked, now):
        try:
            job_submit(actor=SYSTEM, operation=PROVE_PATHS, target=host)
        except (NotAdmitted, TargetBusy):
            continue
        return True
    return False
