"""After a migration call came back, failed, or was orphaned: ask both hosts until the VM is settled on one of them.

Only certain situations lead to an effect, and each of those only after two equal readings, apart in time, on both
hosts, and a third one right before the call, when the job's fence has been checked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from hypervisor.errors import (
    GuestBusy,
    GuestNotFound,
    GuestStateInvalid,
    HostUnreachable,
    HypervisorError,
    OperationTimeout,
)
from hypervisor.protocol import Hypervisor
from hypervisor.types import Activity, MigrationSpec
from inventory.models import Host
from jobs.errors import OperationFailed, OutcomeUnknown
from jobs.operations.migrate.reconnecting import Reconnection
from jobs.operations.migrate.truth import Presence, Sight, Truth, truth

if TYPE_CHECKING:
    from jobs.engine.context import JobContext
    from jobs.operations.migrate.monitor import Monitor

log = logging.getLogger(__name__)

#: Between the two readings before an effect, in seconds.
READINGS_APART = 5.0
#: How long a switchover may look unfinished before the job is left for later.
PATIENCE = 60.0
LOOK_EVERY = 0.2
SETTLED = frozenset({Truth.ARRIVED, Truth.STAYED, Truth.STOPPED})


@dataclass(frozen=True, slots=True)
class Mending:
    """The one effect that a situation calls for. `then`: what it leads to, which needs no second reading of its own."""

    call: str
    at_source: bool
    do: Callable[[Hypervisor, str], None]
    then: Truth | None = None


def _off(host: Hypervisor, uuid: str) -> None:
    host.force_off(uuid)


def _undefine(host: Hypervisor, uuid: str) -> None:
    host.undefine(uuid)


def _resume(host: Hypervisor, uuid: str) -> None:
    host.resume(uuid)


MENDINGS: Mapping[Truth, Mending] = MappingProxyType(
    {
        Truth.LEFTOVER_DESTINATION: Mending("force_off", False, _off),
        Truth.LEFTOVER_SOURCE: Mending("force_off", True, _off, then=Truth.LEFTOVER_DEFINITION),
        Truth.LEFTOVER_DEFINITION: Mending("undefine", True, _undefine),
        Truth.LEFTOVER_COPY: Mending("undefine", False, _undefine),
        Truth.STRANDED_BOTH: Mending("force_off", False, _off, then=Truth.STRANDED_SOURCE),
        Truth.STRANDED_SOURCE: Mending("resume", True, _resume),
        Truth.LOST_AT_SOURCE: Mending("force_off", False, _off, then=Truth.LEFTOVER_COPY),
        Truth.LOST_AT_DESTINATION: Mending("force_off", True, _off, then=Truth.LEFTOVER_COPY),
    }
)
MENDABLE = frozenset({*MENDINGS, Truth.VANISHED})
#: In these the guest may have run at the destination, and have written there what the source's disks do not have.
MAY_HAVE_WRITTEN_THERE = frozenset(
    {Truth.LOST_AT_SOURCE, Truth.LOST_AT_DESTINATION, Truth.LEFTOVER_COPY, Truth.VANISHED}
)


def look(context: JobContext, host: Host) -> Sight:
    """What one host says of the VM now."""
    try:
        connection = context.on(host)
        state = connection.guest_state(context.uuid)
        try:
            activity = connection.activity(context.uuid)
        except GuestBusy:
            activity = Activity.OTHER
    except GuestNotFound:
        return Sight(Presence.ABSENT)
    except (HostUnreachable, OperationTimeout):
        return Sight(Presence.UNREACHABLE)
    return Sight(Presence.HERE, state.state, state.reason, activity, state.persistent)


def settle(
    context: JobContext, source: Host, destination: Host, monitor: Monitor, spec: MigrationSpec, *, told: bool
) -> Truth:
    """Bring the VM to where one host runs it, or say why that takes a person. Returns ARRIVED, STAYED or STOPPED.

    `told`: the call came back and said how it ended; then one reading is enough to believe that the VM stayed. Without,
    the request may still be on its way to a host that hung.

    Raises OutcomeUnknown when a host does not answer, or both run it; OperationFailed when none knows it.
    """
    return _Settling(context, source, destination, monitor, spec, told).come_to_an_end()


class _Settling:
    """One attempt at it."""

    def __init__(
        self, context: JobContext, source: Host, destination: Host, monitor: Monitor, spec: MigrationSpec, told: bool
    ) -> None:
        self._context, self._source, self._destination, self._monitor = context, source, destination, monitor
        self._reconnection = Reconnection(context, source, destination, spec)
        self._told = told
        self._deadline = time.monotonic() + PATIENCE
        self._first: tuple[Truth, float] | None = None  # what was read, and since when without a break

    def come_to_an_end(self) -> Truth:
        """Look, and do what is to be done, until the VM is settled. Raises OutcomeUnknown, OperationFailed."""
        while True:
            now = self._see()
            if now is Truth.ARRIVED or (now in SETTLED and (self._told or self._read_twice(now))):
                return now
            try:
                self._go_on(now)
            except (HostUnreachable, OperationTimeout):
                raise
            except HypervisorError as error:  # it changed meanwhile, say: what is true is asked again
                log.info("job %s: %s", self._context.job.pk, error)
            if time.monotonic() > self._deadline:
                raise OutcomeUnknown(
                    f"{self._context.vm} is still {now.value.replace('_', ' ')} after {PATIENCE:.0f} s."
                )
            time.sleep(LOOK_EVERY)

    def _see(self) -> Truth:
        here, there = look(self._context, self._source), look(self._context, self._destination)
        for sight, host in ((here, self._source), (there, self._destination)):
            if sight.presence is Presence.UNREACHABLE:
                raise OutcomeUnknown(f"{host} does not answer, so it is not known where {self._context.vm} runs.")
        return truth(here, there)

    def _go_on(self, now: Truth) -> None:
        if now in (Truth.POSTCOPY, Truth.POSTCOPY_FAILED):
            self._context.note(post_copy=True)  # for the result, whoever writes it
        if now in (Truth.IN_PROGRESS, Truth.POSTCOPY):
            if self._monitor.adopt(in_postcopy=now is Truth.POSTCOPY):
                self._deadline = time.monotonic() + PATIENCE
            self._told, self._first = False, None
        elif not self._read_twice(now):
            return
        elif now is Truth.SPLIT:
            raise OutcomeUnknown(
                f"{self._source} and {self._destination} both run {self._context.vm}. Slipway touches neither: stop "
                "the wrong one by hand."
            )
        elif now is Truth.POSTCOPY_FAILED:
            self._reconnection.try_again()
        elif now in MENDABLE:
            self._mend(now)

    def _read_twice(self, now: Truth) -> bool:
        """Whether the same was read long enough ago, and nothing else since."""
        if self._first is None or self._first[0] is not now:
            self._first = now, time.monotonic()
        return time.monotonic() - self._first[1] >= READINGS_APART

    def _mend(self, now: Truth) -> None:
        if now in MAY_HAVE_WRITTEN_THERE:
            self._context.note(wrote_there=True)  # for the rollback, whatever the hosts say by then
        with self._context.step(f"mend_{now.value}", f"Mend what was found: {now.value.replace('_', ' ')}"):
            if now is Truth.VANISHED:
                self._define_again()
            mending = MENDINGS[now]
            host = self._source if mending.at_source else self._destination
            connection, uuid = self._context.on(host), self._context.uuid
            self._context.undo_effect(
                mending.call, self._if_still(now, lambda: mending.do(connection, uuid)), host=host, why=now.value
            )
        self._first = (mending.then, float("-inf")) if mending.then else None
        self._deadline = time.monotonic() + PATIENCE

    def _if_still(self, now: Truth, do: Callable[[], None]) -> Callable[[], None]:
        """The effect, but only if both hosts, asked right before, still say the same."""

        def look_and_do() -> None:
            if self._see() is not now:
                raise GuestStateInvalid("The hosts say something else by now; nothing was done.")
            self._context.check_lease()
            do()

        return look_and_do

    def _define_again(self) -> None:
        context, xml = self._context, self._context.job.journal["xml"]
        connection = context.on(self._source)
        define = self._if_still(Truth.VANISHED, lambda: _ignore(connection.define(xml)))
        context.undo_effect("define", define, host=self._source, why=Truth.VANISHED.value)
        raise OperationFailed(
            "definition_lost",
            f"No host knew {context.vm} any more. It was defined again on {self._source} and not started: see why "
            "before you do.",
        )


def _ignore(_value: object) -> None:
    """What was returned is not needed."""
