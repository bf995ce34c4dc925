"""Removing a host for good, its jobs included."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q

from access import gate
from access.actions import Action
from access.gate import Actor
from inventory.errors import InventoryConflict
from inventory.models import Host
from inventory.services.hosts import host_delete
from jobs.models import BrokenGlass, Job
from jobs.operations.hosts.paths import PROVE_PATHS
from jobs.operations.migrate.surroundings import MIGRATE


@transaction.atomic
def host_retire(*, actor: Actor, host: Host, reason: str = "") -> None:
    """Remove a host from the inventory, with the grants on it and the jobs that worked on it; what they did stands in
    the record, and their parts stay with the VMs.

    Needs OPERATE_HOST. Raises InventoryConflict while VMs are placed on it or on their way to or from it, while a job
    on it is not over or sends canaries to it, or while one that went ahead without approval waits for an auditor.
    """
    gate.authorise(actor, Action.OPERATE_HOST, host)
    jobs = Job.objects.filter(host=host)
    if jobs.unfinished().exists():
        raise InventoryConflict(f"A job on {host} is not over yet; wait for it or cancel it.")
    unfinished = Job.objects.unfinished()
    # A VM would arrive where nobody looks any more.
    bound = Q(params__destination=host.pk) | Q(journal__source=host.pk)
    if unfinished.filter(bound, operation=MIGRATE).exists():
        raise InventoryConflict(f"A VM is on its way to or from {host}; wait for it, or cancel its migration.")
    # A canary would be left on it, and the job would stumble over what is gone.
    if unfinished.filter(operation=PROVE_PATHS, host__cluster=host.cluster_id).exists():
        raise InventoryConflict(
            f"The paths of its cluster are being proved, those of {host} among them; wait for that."
        )
    if BrokenGlass.objects.filter(job__host=host, acknowledged_at=None).exists():
        raise InventoryConflict(f"Work on {host} that went ahead without approval waits for an auditor's note.")
    Job.objects.filter(parent__in=jobs).update(parent=None)
    jobs.delete()
    host_delete(actor=actor, host=host, reason=reason)
