"""What a host is available for while it is worked on, and what is journalled of that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from access.gate import SYSTEM
from hypervisor.errors import HostUnreachable, HypervisorError
from inventory.models import Host
from inventory.services.hosts import host_set_availability
from inventory.syncing import guests_read
from jobs.engine.context import JobContext
from jobs.errors import CancelRequested, OutcomeUnknown, RightWithdrawn
from jobs.operations.hosts.survey import Obstacle


def host_of(context: JobContext) -> Host:
    """The host that the job works on, as it is now."""
    host: Host = Host.objects.select_related("cluster").get(jobs=context.job)
    return host


def guests_looked(context: JobContext, host: Host) -> None:
    """See what runs on the host. Raises HostUnreachable, and OutcomeUnknown for another error: it is tried again, while
    the parts go on. What the hypervisor said is for who sees the VMs, and so for the log alone.
    """
    try:
        guests_read(host, context.on(host))
    except HostUnreachable:
        raise
    except HypervisorError as error:
        raise OutcomeUnknown(f"{host} could not tell what runs on it.") from error


def declare(context: JobContext, host: Host, to: Host.Availability) -> None:
    """Say what the host is available for from now on, if the job is still this worker's. Raises Fenced, Refused."""
    if host.availability != to:
        context.ledger.commit(then=partial(host_set_availability, actor=context.actor, host=host, to=to))


def restore(context: JobContext, error: BaseException, *, to: Host.Availability | None = None) -> Host | None:
    """After a cancel or the loss of a right: make the host available for what it was before the job, or for `to`.
    Returns it as it is then; None after any other end, where it stays as it is.
    """
    if not isinstance(error, CancelRequested | RightWithdrawn):
        return None
    host = host_of(context)
    back = to or Host.Availability(context.job.journal.get("was", host.availability))
    if host.availability != back:
        change = partial(host_set_availability, actor=SYSTEM, host=host, to=back, reason=str(error))
        context.ledger.commit(then=change)
    return host


def written(left: Mapping[int, Obstacle]) -> dict[str, list[str]]:
    """What stays and why, as it is journalled."""
    return {str(pk): [obstacle.code, obstacle.why] for pk, obstacle in sorted(left.items())}
