"""Live migration as arithmetic: a pure model of QEMU's pre-copy, stop-and-copy and post-copy.

Nothing here does I/O or reads a clock. A `Model` is where a migration is at its own time `clock` (seconds since the
start); `advance` gives where it is later and what it passed on the way. Between two milestones only `clock` changes, so
advancing in one stride or in many gives the same result, whichever process looks.

The rules are QEMU's (migration/ram.c, migration/migration.c): a pass sends what was dirty at its start; at the end of
a pass the guest is stopped if what was dirtied meanwhile can be sent within the downtime limit; auto-converge throttles
the vCPUs by 20 %, then 10 % more, whenever two passes in a row dirtied more than half of what they sent, up to 99 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from hypervisor.types import Activity, MigrationProgress

#: A pass is never shorter: QEMU has to walk the dirty bitmap.
SHORTEST_PASS_SECONDS = 0.01
#: Sending the state of the devices, while the guest stands still.
DEVICES_SECONDS = 0.03
#: From the destination's running to the source's being gone.
CONFIRM_SECONDS = 0.25
#: From a request (abort, post-copy) to its effect.
REACTION_SECONDS = 0.05
THROTTLE_FIRST, THROTTLE_STEP, THROTTLE_MOST = 20, 10, 99
#: Of a post-copy planted to break: the part of the remaining memory that arrives before it does.
POSTCOPY_BREAKS_AT = 0.5


class Phase(StrEnum):
    """Where a migration is."""

    SETUP = "setup"  # the destination's QEMU starts
    PRECOPY = "precopy"
    STOPPED = "stopped"  # stop-and-copy: runs nowhere
    POSTCOPY = "postcopy"  # runs on the destination, memory follows
    SWITCHED = "switched"  # runs on the destination, the source is not gone yet
    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"
    POSTCOPY_FAILED = "postcopy_failed"


class Milestone(StrEnum):
    """What is passed on the way, in this order (iterations as often as there are passes)."""

    DESTINATION_READY = "destination_ready"
    ITERATION = "iteration"
    STOPPED = "stopped"
    POSTCOPY = "postcopy"
    SWITCHED = "switched"
    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"
    POSTCOPY_FAILED = "postcopy_failed"


@dataclass(frozen=True, slots=True)
class Model:
    """A migration at one moment. Sizes in bytes, rates in bytes a second, times in seconds since the start."""

    total_bytes: int
    resident_bytes: int  # what the first pass sends; the rest is zero pages
    hot_bytes: int  # the working set: no pass can dirty more than this
    dirty_bps: float
    link_bps: float
    bandwidth_cap_bps: float = 0.0  # 0: none
    max_downtime_ms: int = 300
    auto_converge: bool = True
    throttle_ignored: bool = False  # a guest that dirties memory at the same rate however throttled
    fail_at_percent: float | None = None  # of the first pass; 100: in stop-and-copy
    postcopy_breaks: bool = False
    setup_seconds: float = 0.3

    phase: Phase = Phase.SETUP
    clock: float = 0.0
    anchor: float = 0.0  # since when the figures below have held
    anchor_left: float = 0.0  # bytes to send in this pass, then
    anchor_dirty: float = 0.0  # bytes dirtied in this pass, then
    pass_bytes: float = 0.0
    iteration: int = 0
    processed_bytes: float = 0.0  # by the passes before this one
    throttle_percent: int = 0
    hungry_passes: int = 0
    seen_dirty_bps: float = 0.0
    stopped_at: float | None = None
    running_again_at: float | None = None
    postcopy: bool = False
    abort_at: float | None = None
    postcopy_at: float | None = None

    @property
    def bandwidth_bps(self) -> float:
        """The rate the copy goes at."""
        cap = self.bandwidth_cap_bps
        return max(1.0, min(self.link_bps, cap) if cap > 0 else self.link_bps)

    @property
    def effective_dirty_bps(self) -> float:
        """The rate at which the guest dirties memory, throttled as it is."""
        throttle = 0 if self.throttle_ignored else self.throttle_percent
        return self.dirty_bps * (1 - throttle / 100)

    @property
    def left_bytes(self) -> float:
        """What this pass still has to send."""
        sent = self.bandwidth_bps * (self.clock - self.anchor)
        return max(0.0, self.anchor_left - sent)

    @property
    def dirty_bytes(self) -> float:
        """What was dirtied since this pass began."""
        since = self.effective_dirty_bps * (self.clock - self.anchor)
        return min(float(self.hot_bytes), self.anchor_dirty + since)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in (Phase.COMPLETED, Phase.ABORTED, Phase.FAILED, Phase.POSTCOPY_FAILED)


def next_due(model: Model) -> float:
    """When the next milestone is passed if nobody intervenes; infinity when it is over."""
    if model.phase is Phase.SETUP:
        return _first(model.setup_seconds, model.abort_at)
    if model.phase is Phase.PRECOPY:
        end = model.anchor + max(SHORTEST_PASS_SECONDS, model.anchor_left / model.bandwidth_bps)
        return _first(end, model.abort_at, model.postcopy_at, _failure_due(model))
    if model.phase is Phase.STOPPED:
        end = model.anchor + model.anchor_left / model.bandwidth_bps + DEVICES_SECONDS
        return _first(end, model.abort_at)
    if model.phase is Phase.POSTCOPY:
        share = POSTCOPY_BREAKS_AT if model.postcopy_breaks else 1.0
        return model.anchor + share * model.anchor_left / model.bandwidth_bps + DEVICES_SECONDS
    if model.phase is Phase.SWITCHED:
        return model.anchor + CONFIRM_SECONDS
    return math.inf


def advance(model: Model, until: float) -> tuple[Model, tuple[Milestone, ...]]:
    """The migration at time `until`, and the milestones passed since `model.clock`, in order."""
    passed: list[Milestone] = []
    while not model.over and (due := next_due(model)) <= until:
        model, milestone = _pass(replace(model, clock=max(due, model.clock)))
        passed.append(milestone)
    return replace(model, clock=max(model.clock, until)), tuple(passed)


def before_next(model: Model, time: float) -> Model:
    """The migration at that time, or just before its next milestone if that comes first."""
    return replace(model, clock=max(model.clock, min(time, next_due(model))))


def with_bandwidth_cap(model: Model, bytes_per_second: float) -> Model:
    """The same migration with another cap from now on; 0 lifts it."""
    return replace(_anchored(model), bandwidth_cap_bps=bytes_per_second)


def with_max_downtime(model: Model, milliseconds: int) -> Model:
    """The same migration with another downtime limit; it counts at the end of the running pass."""
    return replace(model, max_downtime_ms=milliseconds)


def with_abort(model: Model) -> Model:
    """The same migration, asked to stop. Only before the destination runs; see `can_abort`."""
    return replace(model, abort_at=model.clock + REACTION_SECONDS)


def can_abort(model: Model) -> bool:
    """Whether an abort still has an effect: the guest does not run on the destination yet."""
    return model.phase in (Phase.SETUP, Phase.PRECOPY, Phase.STOPPED)


def with_postcopy(model: Model) -> Model:
    """The same migration, asked to switch to post-copy. An abort that comes before the switch wins."""
    return replace(model, postcopy_at=max(model.clock, model.setup_seconds) + REACTION_SECONDS)


def progress(model: Model) -> MigrationProgress:
    """What the source's host would report now; `completed` once it is over and well."""
    done = model.phase is Phase.COMPLETED
    copying = model.phase in (Phase.PRECOPY, Phase.STOPPED, Phase.POSTCOPY)
    sent = max(0.0, model.pass_bytes - model.left_bytes) if copying else 0.0
    return MigrationProgress(
        activity=Activity.NONE if model.over and not done else Activity.MIGRATION_OUT,
        completed=done,
        elapsed_ms=round(model.clock * 1000),
        downtime_ms=round(_downtime_seconds(model) * 1000),
        setup_ms=round(min(model.clock, model.setup_seconds) * 1000),
        memory_total_bytes=0 if model.phase is Phase.SETUP else model.total_bytes,
        memory_remaining_bytes=_remaining_bytes(model),
        memory_processed_bytes=round(model.processed_bytes + sent),
        memory_bps=0 if model.phase is Phase.SETUP else round(model.bandwidth_bps),
        dirty_bps=round(model.seen_dirty_bps),
        iteration=model.iteration,
        throttle_percent=model.throttle_percent,
        postcopy_requests=model.iteration * 16 if model.postcopy else 0,
    )


def _first(*times: float | None) -> float:
    return min(time for time in times if time is not None)


def _failure_due(model: Model) -> float | None:
    """When a planted failure strikes in the first pass."""
    if model.fail_at_percent is None or model.fail_at_percent >= 100 or model.iteration != 1:
        return None
    left_then = model.resident_bytes * (1 - model.fail_at_percent / 100)
    return model.anchor + max(0.0, model.anchor_left - left_then) / model.bandwidth_bps


def _anchored(model: Model) -> Model:
    """The same moment, with the figures counted from now on."""
    if model.phase not in (Phase.PRECOPY, Phase.STOPPED, Phase.POSTCOPY):
        return model
    left, dirty = model.left_bytes, model.dirty_bytes
    return replace(model, anchor=model.clock, anchor_left=left, anchor_dirty=dirty)


def _pass(model: Model) -> tuple[Model, Milestone]:
    """Go through the milestone that is due at `model.clock`."""
    if model.abort_at is not None and model.abort_at <= model.clock and can_abort(model):
        return replace(_anchored(model), phase=Phase.ABORTED), Milestone.ABORTED
    match model.phase:
        case Phase.SETUP:
            return _start_pass(model, model.resident_bytes), Milestone.DESTINATION_READY
        case Phase.PRECOPY:
            return _pass_in_precopy(model)
        case Phase.STOPPED if model.fail_at_percent is not None:
            return replace(model, phase=Phase.FAILED), Milestone.FAILED
        case Phase.POSTCOPY if model.postcopy_breaks:
            return replace(_anchored(model), phase=Phase.POSTCOPY_FAILED), Milestone.POSTCOPY_FAILED
        case Phase.STOPPED | Phase.POSTCOPY:
            return _switch(model), Milestone.SWITCHED
        case _:
            return replace(model, phase=Phase.COMPLETED, anchor=model.clock), Milestone.COMPLETED


def _pass_in_precopy(model: Model) -> tuple[Model, Milestone]:
    failure = _failure_due(model)
    if failure is not None and failure <= model.clock:
        return replace(_anchored(model), phase=Phase.FAILED), Milestone.FAILED
    if model.postcopy_at is not None and model.postcopy_at <= model.clock:
        return _go_postcopy(model), Milestone.POSTCOPY
    return _end_pass(model)


def _end_pass(model: Model) -> tuple[Model, Milestone]:
    """A pass is over: stop the guest, or do another one."""
    seconds = max(model.clock - model.anchor, SHORTEST_PASS_SECONDS)
    dirty = model.dirty_bytes
    model = replace(
        model,
        processed_bytes=model.processed_bytes + model.pass_bytes,
        seen_dirty_bps=(dirty - model.anchor_dirty) / seconds,
    )
    if dirty <= model.bandwidth_bps * model.max_downtime_ms / 1000:
        stopped = replace(
            model,
            phase=Phase.STOPPED,
            anchor=model.clock,
            anchor_left=dirty,
            anchor_dirty=0.0,
            pass_bytes=dirty,
            stopped_at=model.clock,
        )
        return stopped, Milestone.STOPPED
    return _start_pass(_throttled(model, dirty), dirty), Milestone.ITERATION


def _throttled(model: Model, dirty: float) -> Model:
    """Auto-converge: two hungry passes in a row raise the throttle."""
    if not model.auto_converge:
        return model
    hungry = model.hungry_passes + 1 if dirty > model.pass_bytes / 2 else 0
    if hungry < 2:
        return replace(model, hungry_passes=hungry)
    step = model.throttle_percent + THROTTLE_STEP if model.throttle_percent else THROTTLE_FIRST
    return replace(model, hungry_passes=0, throttle_percent=min(THROTTLE_MOST, step))


def _start_pass(model: Model, size: float) -> Model:
    return replace(
        model,
        phase=Phase.PRECOPY,
        anchor=model.clock,
        anchor_left=float(size),
        anchor_dirty=0.0,
        pass_bytes=float(size),
        iteration=model.iteration + 1,
    )


def _go_postcopy(model: Model) -> Model:
    owed = min(float(model.resident_bytes), model.left_bytes + model.dirty_bytes)
    return replace(
        model,
        phase=Phase.POSTCOPY,
        processed_bytes=model.processed_bytes + model.pass_bytes - model.left_bytes,
        anchor=model.clock,
        anchor_left=owed,
        anchor_dirty=0.0,
        pass_bytes=owed,
        stopped_at=model.clock,
        running_again_at=model.clock + DEVICES_SECONDS,
        postcopy=True,
    )


def _switch(model: Model) -> Model:
    return replace(
        model,
        phase=Phase.SWITCHED,
        processed_bytes=model.processed_bytes + model.pass_bytes,
        anchor=model.clock,
        anchor_left=0.0,
        anchor_dirty=0.0,
        pass_bytes=0.0,
        running_again_at=model.clock if model.running_again_at is None else model.running_again_at,
    )


def _remaining_bytes(model: Model) -> int:
    if model.phase is Phase.PRECOPY and model.iteration == 1 and model.resident_bytes:
        # The zero pages of the first pass go by as fast as its other pages do.
        return round(model.total_bytes * model.left_bytes / model.resident_bytes)
    if model.phase in (Phase.PRECOPY, Phase.STOPPED, Phase.POSTCOPY):
        return min(model.total_bytes, round(model.left_bytes))
    return 0


def _downtime_seconds(model: Model) -> float:
    """Measured once the guest runs again, expected before (QEMU: what is dirty over the bandwidth)."""
    if model.stopped_at is not None and model.running_again_at is not None:
        return model.running_again_at - model.stopped_at
    return model.pass_bytes / model.bandwidth_bps
