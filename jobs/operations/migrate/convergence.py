"""Whether a running migration will end, and what to do when it will not. Pure: passes in, a move out.

A migration ends when what remains can be sent within the downtime limit. Without headway the limit is raised in steps.
Once it stalls, or the guest would next be all but stopped to make it converge, the way out is the pause that the best
pass of late would have taken, if the policy has it. Where it stalls and that is too long, it is post-copy; else waiting
while the guest is still being slowed down; else an abort that says why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from jobs.operations.migrate.passes import SILENT_SECONDS, Passes, Sample
from jobs.operations.migrate.policies import Policy

GIB = 2**30
#: A whole migration may take so long (KubeVirt's completion timeout), and this at least.
SECONDS_PER_GIB, LEAST_SECONDS = 150.0, 300.0
#: From which pass on, in how many steps and how far apart in seconds the limit is raised (KubeVirt's).
FIRST_RAISE_ITERATION, RAISE_STEPS, RAISE_EVERY_SECONDS = 3, 7, 10.0
#: A limit that is to end the migration allows for so much more than is needed: the bandwidth is a smoothed reading.
ALLOWANCE = 1.25
#: A guest that is slowed down by so many percent will next be by 99, and stand still for 990 ms at a time: QEMU lets it
#: run for slices of 10 ms (softmmu/cpu-throttle.c). A pause that is no longer than that is the lesser evil.
NEARLY_STOPPED, LONGEST_NAP_MS = 90, 990
#: A switch that was asked for is waited for so long, in seconds; after half of it with the policy's longest pause.
SWITCHES_WITHIN = 60.0


class Do(StrEnum):
    WAIT = "wait"
    RAISE_DOWNTIME = "raise_downtime"
    SWITCH = "switch"
    POSTCOPY = "postcopy"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Move:
    """What to do now: RAISE_DOWNTIME and SWITCH set the limit to `downtime_ms`; `sentence` explains an abort."""

    do: Do
    downtime_ms: int = 0
    sentence: str = ""


WAIT = Move(Do.WAIT)


@dataclass
class Standing:
    """What was done so far: the limit in force, and when it was raised, in seconds since the start; when the switch was
    asked for.
    """

    downtime_ms: int
    raised_at: float = 0.0
    switch_asked_at: float | None = None
    in_postcopy: bool = False


def next_move(passes: Passes, policy: Policy, standing: Standing, *, memory_bytes: int) -> Move:
    """Decide on a migration whose guest still runs at the source, or has switched to post-copy."""
    now = passes.now
    if now is None or standing.in_postcopy:
        return WAIT
    if passes.is_silent:
        return _abort(f"Nothing was sent for {SILENT_SECONDS:.0f} s; the link between the hosts is stuck.")
    if standing.switch_asked_at is not None:
        return _awaiting_the_switch(passes, now, policy, standing, now.at - standing.switch_asked_at)
    deadline = max(LEAST_SECONDS, SECONDS_PER_GIB * memory_bytes / GIB)
    if passes.has_stalled or now.at > deadline:
        return _way_out(passes, now, policy, standing, deadline)
    if now.throttle >= NEARLY_STOPPED and passes.slows_further:
        move = _switch(passes, min(policy.longest_pause_ms, LONGEST_NAP_MS), standing)
        if move is not None:
            return move
    may_raise = now.iteration >= FIRST_RAISE_ITERATION and now.at - standing.raised_at >= RAISE_EVERY_SECONDS
    if standing.downtime_ms < policy.max_downtime_ms and may_raise and passes.without_headway:
        step = max(1, (policy.max_downtime_ms - policy.first_downtime_ms) // RAISE_STEPS)
        return Move(Do.RAISE_DOWNTIME, min(policy.max_downtime_ms, standing.downtime_ms + step))
    return WAIT


def _way_out(passes: Passes, now: Sample, policy: Policy, standing: Standing, deadline: float) -> Move:
    """For a migration that stalls, or takes longer than it may."""
    move = _switch(passes, policy.longest_pause_ms, standing)
    if move is not None:
        return move
    if policy.postcopy:
        return Move(Do.POSTCOPY)
    if passes.is_being_throttled and now.at <= deadline:
        return WAIT
    why = "made no headway" if passes.has_stalled else f"did not end within {deadline:.0f} s"
    return _abort(explained(why, passes, now, policy))


def _switch(passes: Passes, longest_ms: int, standing: Standing) -> Move | None:
    """Allow the pause that the best pass of late would have taken; None if that is longer than `longest_ms`."""
    needed = passes.needed_ms
    if needed is None or needed > longest_ms:
        return None
    return Move(Do.SWITCH, max(standing.downtime_ms, min(longest_ms, math.ceil(needed * ALLOWANCE))))


def _awaiting_the_switch(passes: Passes, now: Sample, policy: Policy, standing: Standing, waited: float) -> Move:
    if waited > SWITCHES_WITHIN:
        if policy.postcopy:
            return Move(Do.POSTCOPY)
        why = f"did not switch within {waited:.0f} s, though a pause of {standing.downtime_ms} ms was allowed"
        return _abort(explained(why, passes, now, policy))
    if waited > SWITCHES_WITHIN / 2 and standing.downtime_ms < policy.longest_pause_ms:
        return Move(Do.RAISE_DOWNTIME, policy.longest_pause_ms)
    return WAIT


def _abort(sentence: str) -> Move:
    return Move(Do.ABORT, sentence=sentence)


def explained(why: str, passes: Passes, now: Sample, policy: Policy) -> str:
    """Why it does not end, in one sentence with the figures that decide."""
    needed = "an unknown time" if passes.needed_ms is None else f"{passes.needed_ms:.0f} ms"
    slowed = f" though it was slowed down by {now.throttle} %" if now.throttle else ""
    return (
        f"The migration {why}: the guest writes {now.dirty_bps / 2**20:.0f} MiB/s{slowed}, "
        f"the link carries {passes.bandwidth_bps / 2**20:.0f} MiB/s; "
        f"it would need a pause of {needed}, and {policy.longest_pause_ms} ms are allowed."
    )
