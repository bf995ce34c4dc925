"""After a migration call came back, failed, or was orphaned: ask both hosts until the VM is settled on one of them.

Only certain situations lead to an effect, and each of those only after two equal readings, apart in time, on both
hosts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hypervisor.errors import GuestBusy, GuestNotFound, HostUnreachable
from hypervisor.types import Activity
from inventory.models import Host
from jobs.errors import OperationFailed, OutcomeUnknown
from jobs.operations.migrate.truth import Presence, Sight, Truth, truth

if TYPE_CHECKING:
    from jobs.engine.context import JobContext
    from jobs.operations.migrate.monitor import Monitor

#: Between the two readings before an effect, in seconds.
READINGS_APART = 5.0
#: How long a switchover may look unfinished before the job is left for later.
PATIENCE = 60.0
SETTLED = frozenset({Truth.ARRIVED, Truth.STAYED, Truth.STOPPED})
MENDABLE = frozenset(
    {Truth.LEFTOVER_DESTINATION, Truth.LEFTOVER_SOURCE, Truth.STRANDED_SOURCE, Truth.STRANDED_BOTH, Truth.VANISHED}
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
    except HostUnreachable:
        return Sight(Presence.UNREACHABLE)
    return Sight(Presence.HERE, state.state, state.reason, activity)


def settle(context: JobContext, source: Host, destination: Host, monitor: Monitor) -> Truth:
    """Bring the VM to where one host runs it, or say why that takes a person. Returns ARRIVED, STAYED or STOPPED.

    Raises OutcomeUnknown when a host does not answer, OperationFailed for a split brain.
    """
    deadline = time.monotonic() + PATIENCE
    first: tuple[Truth, float] | None = None
    while True:
        now = truth(look(context, source), look(context, destination))
        if now in SETTLED:
            return now
        if now is Truth.IN_PROGRESS:
            monitor.adopt()
            deadline, first = time.monotonic() + PATIENCE, None
            continue
        if now is Truth.SPLIT:
            raise OperationFailed(
                "split_brain",
                f"{source} and {destination} both run {context.vm}. Slipway touches neither: stop the wrong one by "
                "hand.",
            )
        if now is Truth.UNKNOWN and Presence.UNREACHABLE in (
            look(context, source).presence,
            look(context, destination).presence,
        ):
            raise OutcomeUnknown(
                f"{source} or {destination} does not answer, so it is not known where {context.vm} runs."
            )
        if now in MENDABLE:
            first = _twice(context, source, destination, now, first)
            if first is None:
                deadline = time.monotonic() + PATIENCE
        if time.monotonic() > deadline:
            raise OutcomeUnknown(f"{context.vm} is still {now.value.replace('_', ' ')} after {PATIENCE:.0f} s.")
        time.sleep(0.2)


def _twice(
    context: JobContext, source: Host, destination: Host, now: Truth, first: tuple[Truth, float] | None
) -> tuple[Truth, float] | None:
    """Mend when the same was read long enough ago; None once mended."""
    if first is None or first[0] is not now:
        return now, time.monotonic()
    if time.monotonic() - first[1] < READINGS_APART:
        return first
    with context.step(f"mend_{now.value}", f"Mend what was found: {now.value.replace('_', ' ')}"):
        _mend(context, source, destination, now)
    return None


def _mend(context: JobContext, source: Host, destination: Host, now: Truth) -> None:
    uuid, here, there = context.uuid, context.on(source), context.on(destination)
    if now in (Truth.LEFTOVER_DESTINATION, Truth.STRANDED_BOTH):
        context.undo_effect("force_off", lambda: there.force_off(uuid), host=destination, why=now.value)
    if now in (Truth.STRANDED_SOURCE, Truth.STRANDED_BOTH):
        context.undo_effect("resume", lambda: here.resume(uuid), host=source, why=now.value)
    if now is Truth.LEFTOVER_SOURCE:
        context.undo_effect("force_off", lambda: here.force_off(uuid), host=source, why=now.value)
        context.undo_effect("undefine", lambda: here.undefine(uuid), host=source, why=now.value)
    if now is Truth.VANISHED:
        xml = context.job.journal["xml"]
        context.undo_effect("define", lambda: here.define(xml), host=source, why=now.value)
        raise OperationFailed(
            "definition_lost",
            f"No host knew {context.vm} any more. It was defined again on {source} and not started: see why before "
            "you do.",
        )
