"""What the samples of a migration come to: its passes over the memory, its headway, what the link carries. Pure.

Within a pass `remaining` is a saw-tooth, so headway is judged where a pass begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: The share of the newest reading in the smoothed bandwidth (the weight of KubeVirt's stall detector).
NEWEST = 0.4
#: A pass that begins with less than this share of the best before it has made headway; the window in seconds in which
#: that must happen (both as in KubeVirt's stall detector).
HEADWAY, WINDOW_SECONDS = 0.96, 40.0
#: Where nothing was sent for so long, in seconds, the link is stuck (KubeVirt's progress timeout).
SILENT_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. `at` in seconds since the start; `throttle` in percent of the guest's time."""

    at: float
    iteration: int
    remaining: int
    bps: int
    dirty_bps: int
    throttle: int = 0


@dataclass
class Passes:
    """One migration so far, sample by sample; nothing is ever looked at twice."""

    now: Sample | None = None
    bandwidth_bps: float = 0.0
    fastest_bps: int = 0
    least_remaining: int | None = None
    beginnings: list[Sample] = field(default_factory=list)
    _moved_at: float = 0.0
    _throttled_at: float = 0.0

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Passes:
        """Those of the given samples, oldest first."""
        passes = cls()
        for sample in samples:
            passes.add(sample)
        return passes

    def add(self, sample: Sample) -> None:
        """Take the newest sample in."""
        before, self.now = self.now, sample
        if before is None:
            self._moved_at = self._throttled_at = sample.at
        else:
            if sample.iteration != before.iteration:
                self.beginnings.append(sample)
            if sample.bps or sample.remaining < before.remaining:
                self._moved_at = sample.at
            if sample.throttle > before.throttle:
                self._throttled_at = sample.at
        self.fastest_bps = max(self.fastest_bps, sample.bps)
        if sample.bps:
            newest = NEWEST if self.bandwidth_bps else 1.0
            self.bandwidth_bps += newest * (sample.bps - self.bandwidth_bps)
        least = self.least_remaining
        self.least_remaining = sample.remaining if least is None else min(least, sample.remaining)

    @property
    def is_silent(self) -> bool:
        """Nothing was sent for long."""
        return self.now is not None and self.now.at - self._moved_at > SILENT_SECONDS

    @property
    def without_headway(self) -> bool:
        """The pass that runs began with no less than an earlier one."""
        remaining = [one.remaining for one in self.beginnings]
        return len(remaining) >= 2 and remaining[-1] >= min(remaining[:-1])

    @property
    def slows_further(self) -> bool:
        """The pass that runs began with more than half of the one before: QEMU will slow the guest down further
        (throttle-trigger-threshold, 50 %).
        """
        *_, before, now = [0, 0, *(one.remaining for one in self.beginnings)]
        return 0 < before <= 2 * now

    @property
    def has_stalled(self) -> bool:
        """No pass within the window began with noticeably less than the best before it."""
        old, recent = self._by_age()
        return bool(old and recent) and min(recent) >= HEADWAY * min(old)

    @property
    def is_being_throttled(self) -> bool:
        """The guest was slowed down further within the window: what it writes may fall yet."""
        return self.now is not None and self.now.throttle > 0 and self.now.at - self._throttled_at < WINDOW_SECONDS

    @property
    def needed_ms(self) -> float | None:
        """The pause in which the rest of the best pass of late could have been sent; None while that is not known."""
        recent = self._by_age()[1]
        if self.now is None or not self.bandwidth_bps:
            return None
        return 1000 * min(recent, default=self.now.remaining) / self.bandwidth_bps

    def percent(self, memory_bytes: int) -> int:
        """Progress that never goes back: by the least that ever remained; at most 99, for it is not verified yet."""
        if self.least_remaining is None or memory_bytes <= 0:
            return 0
        return max(0, min(99, int(100 * (1 - self.least_remaining / memory_bytes))))

    def _by_age(self) -> tuple[list[int], list[int]]:
        """What passes began with, before the window and within it."""
        if self.now is None:
            return [], []
        since = self.now.at - WINDOW_SECONDS
        old = [one.remaining for one in self.beginnings if one.at < since]
        return old, [one.remaining for one in self.beginnings if one.at >= since]
