"""How a benchmark reports: raw figures in a file, and one line of JSON at the end."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to be at most so large, or at least."""

    limit: float
    value: float
    at_least: bool = False

    def facts(self) -> dict[str, Any]:
        """As reported."""
        met = self.value >= self.limit if self.at_least else self.value <= self.limit
        goal = f"{'>=' if self.at_least else '<='} {self.limit:g}"
        return {"goal": goal, "value": round(self.value, 4), "met": met}


def report(
    name: str, n: int, raw: Any, figures: Mapping[str, Any], goals: Mapping[str, Goal], engine: Mapping[str, Any]
) -> None:
    """Write the raw figures to `var/bench/` and print the closing line."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = ROOT / "var" / "bench" / f"{name}-{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(raw, indent=1))
    line = {
        "bench": name,
        "n": n,
        "raw": str(path.relative_to(ROOT)),
        "engine": {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0], **engine},
        "figures": figures,
        "goals": {key: goal.facts() for key, goal in goals.items()},
    }
    print(json.dumps(line), flush=True)


def median(values: Sequence[float]) -> float:
    """The median, to a tenth of a millisecond."""
    return round(statistics.median(values), 4)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 4)
