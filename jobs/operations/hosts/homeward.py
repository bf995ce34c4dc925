"""Which VMs belong on a host that was emptied: those that its drains sent away or shut down, and that are as they left
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from inventory.models import VM, Host
from jobs.models import Job
from jobs.operations.hosts.drain import SHUTDOWN, START, Drain
from jobs.operations.migrate.surroundings import MIGRATE, OFF
from jobs.states import State

_POWER = (START, SHUTDOWN, "vm.force_off", "vm.reboot")


@dataclass(frozen=True, slots=True)
class Homeward:
    """Ids of the VMs that were moved away, and of those that were shut down."""

    moved: frozenset[int]
    shut_down: frozenset[int]


def homeward(host: Host) -> Homeward:
    """What is to come home to a host, by what was done since it ceased to be active. A VM that was moved, started or
    switched by anybody else since then has been given another place or state, and is let be. By four statements.
    """
    if host.unavailable_since is None:
        return Homeward(frozenset(), frozenset())
    of_drains = Job.objects.filter(
        parent__host=host, parent__operation=Drain.name, state=State.SUCCEEDED, finished_at__gte=host.unavailable_since
    ).select_related("vm")
    parts = list(of_drains.defer("journal", "progress", "result", "traceback").order_by("finished_at"))
    moves = {part.vm_id: part for part in parts if part.operation == MIGRATE}
    shutdowns = {part.vm_id: part for part in parts if part.operation == SHUTDOWN}
    last_move, last_switch = _last(moves.values(), (MIGRATE,)), _last(shutdowns.values(), _POWER)
    return Homeward(
        frozenset(pk for pk, part in moves.items() if pk and part.vm and _is_there(part, part.vm, last_move[pk])),
        frozenset(pk for pk, part in shutdowns.items() if pk and part.vm and _is_off(part, part.vm, last_switch[pk])),
    )


def _last(parts: Iterable[Job], operations: tuple[str, ...]) -> dict[int | None, Job]:
    """VM -> the last job of these kinds that was done on it."""
    vms = [part.vm_id for part in parts]
    done = Job.objects.filter(vm__in=vms, operation__in=operations, state=State.SUCCEEDED)
    return {job.vm_id: job for job in done.only("pk", "vm_id", "finished_at").order_by("finished_at")}


def _is_there(move: Job, vm: VM, last: Job) -> bool:
    return last.pk == move.pk and vm.is_running and vm.host_id == move.params["destination"]


def _is_off(shutdown: Job, vm: VM, last: Job) -> bool:
    return last.pk == shutdown.pk and vm.power_state in OFF
