"""Celery's entry points: an id comes in, nothing goes out. A message without a matching row does nothing."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from celery import shared_task
from django.db.models import Q
from django.utils import timezone

from inventory.models import Host
from inventory.syncing import host_sync
from jobs import balancer, sweeper
from jobs.baselines import take_due
from jobs.engine import runner
from jobs.expiring import delete_due
from jobs.leftovers import remove_due
from jobs.proving import prove_due

#: A sync that has not come back for this long is taken for dead, and the host is asked again.
SYNC_GIVEN_UP_AFTER = timedelta(seconds=60)


@shared_task(name="jobs.run")
def run_job(job_id: str) -> None:
    """Run a job, if it is queued."""
    runner.run(UUID(job_id))


@shared_task(name="jobs.sweep")
def sweep_jobs() -> None:
    """Recover what was lost."""
    sweeper.sweep()


@shared_task(name="jobs.prove_paths")
def prove_paths() -> None:
    """Have those paths between hosts proved that are due."""
    prove_due()


@shared_task(name="jobs.balance")
def balance_clusters() -> None:
    """Look at the clusters that are to be balanced."""
    balancer.balance()


@shared_task(name="jobs.take_baselines")
def take_baselines() -> None:
    """Have those baselines taken that are due."""
    take_due()


@shared_task(name="jobs.delete_snapshots")
def delete_snapshots() -> None:
    """Have those snapshots deleted whose time is over."""
    delete_due()


@shared_task(name="jobs.remove_leftovers")
def remove_leftovers() -> None:
    """Have those files removed that VMs left behind and whose time is over."""
    remove_due()


@shared_task(name="inventory.sync_all")
def sync_all(slow: bool = False) -> None:
    """Start a read of every host that is not being read already: a host that hangs holds one thread, not all."""
    given_up = timezone.now() - SYNC_GIVEN_UP_AFTER
    idle = Q(sync_started_at=None) | Q(sync_started_at__lt=given_up)
    for host_id, queue in Host.objects.filter(idle).values_list("pk", "cluster__queue"):
        sync_host.apply_async(args=(host_id, slow), queue=queue)


@shared_task(name="inventory.sync")
def sync_host(host_id: int, slow: bool = False) -> None:
    """Read one host, unless somebody is reading it."""
    now = timezone.now()
    idle = Q(sync_started_at=None) | Q(sync_started_at__lt=now - SYNC_GIVEN_UP_AFTER)
    if not Host.objects.filter(idle, pk=host_id).update(sync_started_at=now):
        return
    try:
        host_sync(Host.objects.get(pk=host_id), slow=slow)
    finally:
        Host.objects.filter(pk=host_id, sync_started_at=now).update(sync_started_at=None)
