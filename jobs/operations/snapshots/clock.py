"""A guest that went back in time is told what time it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hypervisor.errors import AgentRefused, AgentUnavailable, GuestNotFound, HypervisorError, OperationTimeout
from hypervisor.types import PowerState
from inventory.models import Host
from jobs.operations.waiting import wait_for

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

#: The agent of a guest that went back answers again after this many seconds, at most.
ANSWERS_WITHIN = 20.0
#: A clock that is off by less is left alone: it takes as long to ask.
GOOD_ENOUGH_SECONDS = 2.0


def clock_set(context: JobContext, host: Host) -> None:
    """Set the guest's clock through its agent, where it runs and one answers; that it could not be set is said, and no
    failure of what went before.
    """
    connection, uuid = context.on(host), context.uuid
    runs = connection.guest_state(uuid).state is PowerState.RUNNING
    if not runs or not connection.guest_definition(uuid).agent_channel:
        return
    with context.step("clock", "Set the guest's clock") as step:
        behind = wait_for(context, lambda: _behind(context, host), seconds=ANSWERS_WITHIN, cancellable=False)
        if behind is None:
            step.detail = "its agent does not answer: the clock is as it was in the snapshot"
            return
        context.result(clock_behind_seconds=round(behind, 1))
        if abs(behind) < GOOD_ENOUGH_SECONDS:
            step.detail = "it was right"
            return
        try:
            context.undo_effect("agent_set_clock", lambda: connection.agent_set_clock(uuid, time.time()), host=host)
        except (AgentRefused, AgentUnavailable, OperationTimeout, GuestNotFound) as error:
            refused = str(error)
        else:
            refused = ""
        left = _behind(context, host)
        was = f"it was {abs(behind):.0f} s {'late' if behind > 0 else 'early'}"
        is_set = left is not None and abs(left) < GOOD_ENOUGH_SECONDS
        step.detail = was if is_set else f"{was}, and could not be set: {refused or 'it did not stay'}"


def _behind(context: JobContext, host: Host) -> float | None:
    """By how many seconds the guest's clock is late; None while nobody says."""
    try:
        return time.time() - context.on(host).agent_clock(context.uuid)
    except HypervisorError:
        return None
