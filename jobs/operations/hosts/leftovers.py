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
from hypervisor.types import PowerState
from inventory.leftovers import leftover_claimed, leftover_settled
from inventory.models import VM, Host, Leftover
from jobs.errors import NotAdmitted
from jobs.operations.base import Operation
from jobs.operations.hosts.onlookers import Onlookers
from jobs.operations.hosts.standing import host_of

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

REMOVE_LEFTOVERS = "host.remove_leftovers"
#: A file that cannot be removed when it is due is looked at again after this time.
LATER = timedelta(hours=24)


def due_on(host: Host) -> Any:
    """The files on a host whose time is over."""
    return Leftover.objects.filter(host=host, removed_at=None, remove_after__lte=timezone.now())


class RemoveLeftovers(Operation):
    """Removes what is due, if its VM is well elsewhere, and nothing here or on a host that may see it uses the file."""

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
        onlookers = Onlookers(context, host)
        removed = kept = 0
        for key in list(due_on(host).values_list("pk", flat=True)):
            context.check_cancel()
            leftover = due_on(host).filter(pk=key).first()
            if leftover is None:
                continue  # somebody wants it, or it is gone
            # What it is called is for who sees its VM: the job is shown to everybody who sees the host.
            with context.step(f"file_{key}", f"Remove file {key}") as step:
                why_not, more = _removed(context, host, leftover, onlookers)
                step.detail = f"kept: {why_not}" if why_not else "removed"
            removed, kept = removed + (not why_not), kept + bool(why_not)
            again_at = timezone.now() + LATER
            context.ledger.commit(then=partial(leftover_settled, leftover, why_not=why_not + more, again_at=again_at))
        context.result(removed=removed, kept=kept)


def _removed(context: JobContext, host: Host, leftover: Leftover, onlookers: Onlookers) -> tuple[str, str]:
    """Remove a file, or why it stays, and what the host said about that, which may name the file. Raises
    HostUnreachable, OperationTimeout.
    """
    connection = context.on(host)
    try:
        pool = connection.storage_pools().get(dirname(leftover.path))
        if pool is None:
            return "it is in no storage pool of this host; remove it by hand", ""
        # The others first: to find out about them may take a minute.
        why_not = onlookers.against(leftover, pool) or _against(context, host, leftover)
        if why_not:
            return why_not, ""
        claimed: list[bool] = []
        context.ledger.commit(then=lambda: claimed.append(leftover_claimed(leftover)))
        if not claimed[0]:
            return "somebody wants it by now", ""
        remove = partial(connection.volume_remove, pool, basename(leftover.path))
        context.effect("volume_remove", remove, host=host, pool=pool, volume=basename(leftover.path))
    except HypervisorError as error:
        if error.retryable:
            raise
        return "the host would not remove it", f": {error}"  # the others are not held up by it
    return "", ""


def _against(context: JobContext, host: Host, leftover: Leftover) -> str:
    """Why a file has to stay, by its VM's host and this one; "" when it may go. Raises HypervisorError of this one."""
    vm = VM.objects.select_related("host").filter(leftovers=leftover).first()
    if vm is None or vm.host is None or vm.host_id == host.pk:
        return "its VM is on no other host"
    try:
        elsewhere, uuid = context.on(vm.host), str(vm.uuid)
        if elsewhere.guest_state(uuid).state is PowerState.CRASHED:
            return "its VM crashed where it is"
        if elsewhere.disk_errors(uuid):
            return "its VM has disk errors where it is"
    except GuestNotFound:
        return "the host of its VM does not know it any more"
    except HypervisorError:
        return "the host of its VM does not answer"
    if leftover.path in context.on(host).files_in_use():
        return "a VM of this host uses it"
    return ""
