"""From observations to load, and from load to whether anything has to be done."""

from __future__ import annotations

import numpy as np

from jobs.balancing.estate import Estate, Floats
from jobs.balancing.policy import Policy


def smoothed(samples: Floats, every_s: float, half_life_s: float = 300.0) -> Floats:
    """The load to plan with from samples of shape (T, V, R), oldest first, `every_s` seconds apart: shape (V, R).

    An exponentially weighted mean, in which a sample counts half as much as one `half_life_s` later, so that one busy
    second starts no migration. Raises ValueError without a sample.
    """
    if len(samples) == 0:
        raise ValueError("no samples")
    ages = every_s * np.arange(len(samples) - 1, -1, -1)
    weights = 0.5 ** (ages / half_life_s)
    mean: Floats = np.tensordot(weights, samples, axes=1) / weights.sum()
    return mean


def over_mean(utilisation: Floats) -> Floats:
    """By how much the fullest host is over the mean, for each resource, shape (R,)."""
    spread: Floats = utilisation.max(axis=0) - utilisation.mean(axis=0)
    return spread


def strain(utilisation: Floats, policy: Policy) -> str | None:
    """Which kind of strain one window shows: `uneven` or `hot`, or None.

    A host over `high` is a reason only while others are emptier by a third of `start`: where all are equally full,
    moves help nobody.
    """
    spread = over_mean(utilisation)
    if (spread > policy.start).any():
        return "uneven"
    hot = utilisation.max(axis=0) > policy.high
    return "hot" if (hot & (spread > policy.start / 3)).any() else None


def strained(estate: Estate, policy: Policy) -> bool:
    """Whether the cluster is strained now and was in the windows before, so many of them as `policy` asks for.

    Where fewer windows are known, those that are known decide.
    """
    windows = [estate.utilisation]
    if estate.past is not None and policy.windows > 1:
        windows += list(estate.past[-(policy.windows - 1) :])
    return all(strain(window, policy) is not None for window in windows)
