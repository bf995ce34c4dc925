"""How sure a figure is: the bootstrap (Efron, Annals of Statistics 7, 1979), by percentiles of resampled medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

#: Samples drawn, and the seed: the same rows give the same interval.
DRAWS, SEED = 10_000, 20_261_130


def bounds(
    ours: Sequence[float],
    theirs: Sequence[float],
    figure: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    *,
    percent: float = 95,
) -> tuple[float, float]:
    """The two-sided interval of a figure of two arms' medians, the arms resampled independently."""
    random = np.random.default_rng(SEED)

    def medians(values: Sequence[float]) -> NDArray[np.float64]:
        drawn = random.choice(np.asarray(values, dtype=float), size=(DRAWS, len(values)))
        return np.median(drawn, axis=1)

    found = figure(medians(ours), medians(theirs))
    tail = (100 - percent) / 2
    low, high = np.percentile(found, [tail, 100 - tail])
    return round(float(low), 4), round(float(high), 4)
