"""`host.remove_leftovers`: files that VMs left behind when their disks were copied to another host."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from posixpath import basename, dirname
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from access.actions import Action
from access.gate import Actor
from hypervisor.errors import GuestNotFound, HypervisorError
from inventory.models import Host, Leftover
from jobs.errors import NotAdmitted
from jobs.operations.base import Operation
from jobs.operations.hosts.standing import host_of

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

REMOVE_LEFTOVERS = "host.remove_leftovers"
#: A file that cannot be removed when it is due is looked at again after this time.
LATER = timedelta(hours=24)


def due_on(host: Host) -> Any:
    """The files on a host whose time is over."""
    return Leftover.objects.filter(host=host, removed_at=None, remove_after__lte=timezone.now()).select_related(
        "vm__host"
    )


class RemoveLeftovers(Operation):
    """Removes what is due, if its VM is well elsewhere and nothing here uses the file."""

    name = REMOVE_LEFTOVERS
    label = "Remove what VMs left on"
    action = Action.OPERATE_HOST
    target_kind = "host"

    def admit(self, actor: Actor, target: Host, params: dict[str, Any]) -> None:
        if not target.is_online:
            raise NotAdmitted("host_offline", f"{target} does not answer at present.")
        if not due_on(target).exists():
            raise NotAdmitted("nothing_due", f"No file that a VM left on {target} is to be removed yet.")

    def lock_targets(self, target: Host) -> list[str]:
        """The host itself is free for other work."""
        return [f"leftovers:{target.pk}"]

    def execute(self, context: JobContext) -> None:
        host = host_of(context)
        removed = kept = 0
        for leftover in due_on(host):
            context.check_cancel()
            # What it is called is for who sees its VM: the job is shown to everybody who sees the host.
            with context.step(f"file_{leftover.pk}", f"Remove file {leftover.pk}") as step:
                why_not = _against(context, host, leftover) or _remove(context, host, leftover)
                step.detail = f"kept: {why_not}" if why_not else "removed"
            removed, kept = removed + (not why_not), kept + bool(why_not)
            context.ledger.commit(then=partial(_note, leftover, why_not))
        context.result(removed=removed, kept=kept)


def _against(context: JobContext, host: Host, leftover: Leftover) -> str:
    """Why a file has to stay, by the hosts themselves; "" when it may go."""
    vm = leftover.vm
    if vm is None or vm.host is None or vm.host_id == host.pk:
        return "its VM is on no other host"
    try:
        context.on(vm.host).guest_state(str(vm.uuid))
    except GuestNotFound:
        return "the host of its VM does not know it any more"
    except HypervisorError:
        return "the host of its VM does not answer"
    if leftover.path in context.on(host).files_in_use():
        return "a VM of this host uses it"
    return ""


def _remove(context: JobContext, host: Host, leftover: Leftover) -> str:
    """Remove a file; why that could not be done, "" when it was."""
    connection = context.on(host)
    pool = connection.storage_pools().get(dirname(leftover.path))
    if pool is None:
        return "it is in no storage pool of this host; remove it by hand"
    remove = partial(connection.volume_remove, pool, basename(leftover.path))
    context.effect("volume_remove", remove, host=host, pool=pool, volume=basename(leftover.path))
    return ""


def _note(leftover: Leftover, why_not: str) -> None:
    now = timezone.now()
    facts = {"why_not": why_not[:300], "remove_after": now + LATER} if why_not else {"removed_at": now}
    Leftover.objects.filter(pk=leftover.pk, removed_at=None).update(**facts)
