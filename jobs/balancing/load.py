"""From load to whether anything has to be done."""

from __future__ import annotations

from jobs.balancing.estate import Estate, Floats
from jobs.balancing.policy import Policy


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
