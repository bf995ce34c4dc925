"""How the planner is to decide: when it begins, how even is enough, and what a move must be worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: oVirt's even distribution calls a host over-used from 80 % on (`HighUtilization`); a move never fills a host further.
HIGH = 0.80
#: A cluster is strained when a host is so far over the mean (15 points of utilisation) in `WINDOWS` windows one after
#: the other. OpenStack Watcher and DRS likewise trigger on deviation; oVirt waits for two minutes
#: (`CpuOverCommitDurationMinutes`).
START = 0.15
WINDOWS = 2
#: With the mean standard deviation of the utilisations at 3 points there is nothing left to gain. Far below `START`,
#: so that what one plan has evened out does not start the next (hysteresis).
ENOUGH = 0.03
#: A VM that moved an hour ago or less stays, so that two plans cannot pass it to and fro.
COOL_DOWN_S = 3600.0
#: What a migration has of a 10 Gbit/s link, about.
BANDWIDTH_MIB_S = 1000.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The knobs. Utilisations are fractions of 1.

    The imbalance is the sum over the resources of `weights` times the standard deviation of the hosts' utilisations.
    `price_per_move` and `price_per_gib` say by how much a move must at least lower the imbalance, times the number of
    hosts: with 0.02, by as much as one host's distance from the mean changing by about 2 points. They also say how
    moves compare: which of two plans that are even enough is the cheaper.
    """

    weights: tuple[float, ...] | None = None  # one for each resource; ones when None
    start: float = START
    high: float = HIGH
    windows: int = WINDOWS
    enough: float = ENOUGH
    cool_down_s: float = COOL_DOWN_S
    bandwidth_mib_s: float = BANDWIDTH_MIB_S
    price_per_move: float = 0.02
    price_per_gib: float = 0.0008
    n_plus_one: bool = True

    def check(self, resources: int) -> None:
        """Raise ValueError for knobs that make no sense."""
        if self.weights is not None and len(self.weights) != resources:
            raise ValueError(f"{len(self.weights)} weights for {resources} resources")
        positive = [self.bandwidth_mib_s, self.high, self.price_per_move, *(self.weights or ())]
        if not all(value > 0 for value in positive) or self.windows < 1:
            raise ValueError("bandwidth, high, price per move, weights and windows must be positive")
        others = (self.start, self.enough, self.cool_down_s, self.price_per_gib)
        if any(math.isnan(value) or value < 0 for value in others):
            raise ValueError("start, enough, cool-down and the price per GiB must not be negative")
