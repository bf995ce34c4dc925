"""How long a VM stands still while its memory is saved: foretold from what earlier saves took, and measured."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Self

from django.db.models import QuerySet

from hypervisor.errors import HypervisorError
from hypervisor.protocol import Hypervisor, Subscription
from hypervisor.types import EventKind, GuestEvent
from inventory.models import VM, Snapshot

log = logging.getLogger(__name__)

#: MiB of a guest's memory saved in a second where nothing was measured yet: 256 MiB took 0.41 s on a local disk, half
#: of it zeros that are skipped; for a guest that has filled its memory it is half as fast.
ASSUMED_MIB_PER_SECOND = 310.0
#: So many of the last saves on a host tell how fast it is.
SAVES_LOOKED_AT = 5
#: The guest's going on is heard so long after the call, in seconds, at most: events come by a way of their own.
HEARD_WITHIN = 1.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One save: the guest's memory, and how long it stood still."""

    memory_mib: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """About how long the next save will take, and what that is taken from."""

    seconds: float
    basis: str

    def __str__(self) -> str:
        return f"about {self.seconds:.1f} s" if self.seconds < 10 else f"about {self.seconds:.0f} s"


#: A VM that is off does not stand still.
NO_PAUSE = Forecast(0.0, "its being off")


def foretold(memory_mib: int, own: Measured | None, others: Iterable[Measured]) -> Forecast:
    """From a VM's own last save, else from the last ones on its host, else from an assumption. Pure."""
    if own is not None and own.memory_mib:
        return Forecast(own.seconds * memory_mib / own.memory_mib, "its last snapshot")
    speeds = [one.memory_mib / one.seconds for one in others if one.seconds > 0 and one.memory_mib]
    if speeds:
        return Forecast(memory_mib / median(speeds), "the last snapshots on its host")
    return Forecast(memory_mib / ASSUMED_MIB_PER_SECOND, "an assumption, since none was measured on its host")


def pause_foretold(vm: VM) -> Forecast:
    """How long a VM would stand still if it was saved now; no time at all while it is off, as last observed."""
    return pause_of_running(vm) if vm.is_running else NO_PAUSE


def pause_of_running(vm: VM) -> Forecast:
    """The same for one that runs, whatever was observed."""
    own = _saves().filter(vm=vm).first()
    others = saves_on(vm.host_id) if own is None and vm.host_id else []
    return foretold(vm.memory_mib, _measured(own) if own else None, others)


def last_saves(vms: QuerySet[VM]) -> dict[int, Measured]:
    """VM -> its own last save, of those that have one."""
    saves = _saves().filter(vm__in=vms.order_by().values("pk")).reverse()
    return {row.vm_id: _measured(row) for row in saves}


def saves_on(host: int) -> list[Measured]:
    """The last ones on a host."""
    return [_measured(row) for row in _saves().filter(taken_on=host)[:SAVES_LOOKED_AT]]


class Standstill:
    """Measures by its host's events how long a guest stands still. For use with `with`. A host that tells no events is
    no reason not to save a guest: then nothing is measured.
    """

    def __init__(self, connection: Hypervisor, uuid: str) -> None:
        self._connection = connection
        self._uuid = uuid
        self._stopped: float | None = None
        self._seconds: float | None = None
        self._heard = threading.Event()
        self._subscription: Subscription | None = None

    def __enter__(self) -> Self:
        try:
            self._subscription = self._connection.watch(self._hear, lambda reason: None, lifecycle_only=True)
        except HypervisorError as error:
            log.warning("how long %s stands still is not measured: %s", self._uuid, error)
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        if self._subscription is None:
            return
        if kind is None:
            self._heard.wait(HEARD_WITHIN)
        self._subscription.stop()

    @property
    def seconds(self) -> float | None:
        """From its stopping to its going on; None if that was not heard."""
        return self._seconds

    def _hear(self, event: GuestEvent) -> None:
        if event.uuid != self._uuid:
            return
        if event.kind is EventKind.SUSPENDED:
            self._stopped = event.monotonic
        elif event.kind is EventKind.RESUMED and self._stopped is not None:
            self._seconds = event.monotonic - self._stopped
            self._heard.set()


def _saves() -> QuerySet[Snapshot]:
    """The last one first."""
    return Snapshot.objects.filter(pause_ms__isnull=False).order_by("-created_at")


def _measured(row: Snapshot) -> Measured:
    return Measured(row.saved_mib or 0, (row.pause_ms or 0) / 1000)
