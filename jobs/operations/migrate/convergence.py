"""Whether a running migration will end, and what to do when it will not. Pure: samples in, a move out.

A migration ends when what remains can be sent within the downtime limit. Between passes over the memory, `remaining`
is a saw-tooth, so it is judged where a pass begins. The numbers are those of QEMU (300 ms default limit) and of
KubeVirt's stall detector (40 s window, 4 % margin; 150 s per GiB in all).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

GIB = 2**30
STALL_SECONDS = 40.0
STALL_MARGIN = 0.96
SECONDS_PER_GIB = 150.0
LEAST_SECONDS = 300.0
SILENT_SECONDS = 150.0
RAISE_STEPS = 7
RAISE_EVERY_SECONDS = 10.0
FIRST_RAISE_ITERATION = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """How far a migration may go for its end."""

    name: str
    first_downtime_ms: int
    max_downtime_ms: int
    postcopy: bool = False


def policy_named(name: str, max_downtime_ms: int | None) -> Policy:
    """The policies a request can name; `max_downtime_ms` overrides the policy's cap."""
    cap = {"gentle": 500, "assured": 500, "pause-ok": 5000}[name] if max_downtime_ms is None else max_downtime_ms
    return Policy(name, first_downtime_ms=min(300, cap), max_downtime_ms=cap, postcopy=name == "assured")


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. `at` in seconds since the start."""

    at: float
    iteration: int
    remaining: int
    bps: int
    dirty_bps: int


class Do(StrEnum):
    WAIT = "wait"
    RAISE_DOWNTIME = "raise_downtime"
    POSTCOPY = "postcopy"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Move:
    """What to do now; `sentence` explains an abort to a person."""

    do: Do
    downtime_ms: int = 0
    sentence: str = ""


WAIT = Move(Do.WAIT)


def next_move(
    samples: Sequence[Sample],
    policy: Policy,
    *,
    downtime_ms: int,
    raised_at: float,
    memory_bytes: int,
    in_postcopy: bool,
) -> Move:
    """Decide on the samples so far, oldest first. `downtime_ms` is the limit now in force, set at `raised_at`."""
    if not samples or in_postcopy:
        return WAIT
    now = samples[-1]
    if _silent(samples):
        return Move(
            Do.ABORT, sentence=f"Nothing was sent for {SILENT_SECONDS:.0f} s; the link between the hosts is stuck."
        )
    deadline = max(LEAST_SECONDS, SECONDS_PER_GIB * memory_bytes / GIB)
    boundaries = _boundaries(samples)
    stalled = _stalled(boundaries, now)
    may_raise = now.iteration >= FIRST_RAISE_ITERATION and now.at - raised_at >= RAISE_EVERY_SECONDS
    if downtime_ms < policy.max_downtime_ms and may_raise and _no_new_low(boundaries):
        step = max(1, (policy.max_downtime_ms - policy.first_downtime_ms) // RAISE_STEPS)
        return Move(Do.RAISE_DOWNTIME, downtime_ms=min(policy.max_downtime_ms, downtime_ms + step))
    if stalled and policy.postcopy:
        return Move(Do.POSTCOPY)
    if now.at > deadline or (stalled and downtime_ms >= policy.max_downtime_ms):
        return Move(Do.ABORT, sentence=explain(now, policy, deadline, stalled=stalled))
    return WAIT


def explain(now: Sample, policy: Policy, deadline: float, *, stalled: bool) -> str:
    """Why it does not end, in one sentence with the figures that decide."""
    needed = f"{now.remaining / now.bps * 1000:.0f} ms" if now.bps else "an unknown time"
    why = "made no headway" if stalled else f"did not end within {deadline:.0f} s"
    return (
        f"The migration {why}: the guest writes {now.dirty_bps / 2**20:.0f} MiB/s, "
        f"the link carries {now.bps / 2**20:.0f} MiB/s; "
        f"it would need a pause of {needed}, and {policy.max_downtime_ms} ms are allowed."
    )


def low_water_percent(samples: Sequence[Sample], memory_bytes: int) -> int:
    """Progress that never goes back: by the least that ever remained; at most 99 before it is verified."""
    if not samples or memory_bytes <= 0:
        return 0
    least = min(sample.remaining for sample in samples)
    return max(0, min(99, int(100 * (1 - least / memory_bytes))))


def _boundaries(samples: Sequence[Sample]) -> list[Sample]:
    """The first sample of each pass."""
    return [b for a, b in pairwise(samples) if b.iteration != a.iteration]


def _no_new_low(boundaries: Sequence[Sample]) -> bool:
    return len(boundaries) >= 2 and boundaries[-1].remaining >= min(b.remaining for b in boundaries[:-1])


def _stalled(boundaries: Sequence[Sample], now: Sample) -> bool:
    old = [b.remaining for b in boundaries if now.at - b.at > STALL_SECONDS]
    recent = [b.remaining for b in boundaries if now.at - b.at <= STALL_SECONDS]
    return bool(old and recent) and min(recent) >= STALL_MARGIN * min(old)


def _silent(samples: Sequence[Sample]) -> bool:
    now = samples[-1]
    window = [sample for sample in samples if now.at - sample.at <= SILENT_SECONDS]
    spans = now.at - samples[0].at > SILENT_SECONDS
    return spans and all(sample.bps == 0 for sample in window) and window[0].remaining <= now.remaining
