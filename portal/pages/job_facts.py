"""What a job's page shows of its figures and its result. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jobs.models import Job, Step
from portal.pages.wording import length_words, size_words

#: Length of the bars that compare two rates, in the units of their drawing.
BAR = 100

_PHASES_OF_STEPS = {
    "precheck": "Before anything is touched",
    "execute": "Work",
    "verify": "Proof of the result",
    "rollback": "Undoing",
}
_PARAMS = {
    "destination_name": "Destination",
    "policy": "Policy",
    "bandwidth_mib": "Bandwidth cap",
    "max_downtime_ms": "Longest pause",
    "name": "Snapshot",
    "description": "What for",
    "baseline": "Baseline",
    "replace": "In place of the present one",
    "keep_hours": "Deleted by itself after",
    "longest_pause_seconds": "Stands still at most",
    "snapshot": "Snapshot",
    "timeout_seconds": "Waits at most",
    "probation_seconds": "Probation",
    "unmovable": "If a VM cannot move",
    "at_once": "VMs at once",
    "return_home": "VMs come home",
    "mode": "Does",
    "most_moves": "Moves at most",
}
_VALUES = {
    ("mode", "advise"): "only advise",
    ("mode", "run"): "carry the plan out",
    ("unmovable", "refuse"): "do not begin",
    ("unmovable", "leave"): "let it stay",
    ("unmovable", "shut_down"): "shut it down",
}


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a guest writes against how fast the link carries, with bars of at most `BAR`."""

    link: str
    dirt: str
    link_bar: int
    dirt_bar: int
    is_losing: bool


def rates(progress: Mapping[str, Any]) -> Rates | None:
    """The two rates of a migration under way; None while there are none."""
    link, dirt = int(progress.get("bps") or 0), int(progress.get("dirty_bps") or 0)
    most = max(link, dirt)
    if not most:
        return None
    return Rates(
        f"{size_words(link)}/s", f"{size_words(dirt)}/s", BAR * link // most, BAR * dirt // most, is_losing=dirt > link
    )


def figures(progress: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, what beside) of what a migration under way says of itself."""
    if not progress.get("total_bytes"):
        return []
    limit, expected = progress.get("downtime_limit_ms"), progress.get("expected_downtime_ms")
    shown = [
        (
            "Left to copy",
            size_words(int(progress.get("remaining_bytes", 0))),
            f"of {size_words(progress['total_bytes'])}",
        ),
        ("Pass over memory", str(progress.get("iteration", 0)), ""),
        ("Guest slowed down", f"{progress.get('throttle_percent', 0)} %", ""),
    ]
    if expected and int(progress.get("iteration", 0)) > 1:
        shown.append(("Pause if it switched now", length_words(int(expected) / 1000), ""))
    if limit:
        shown.append(("Pause allowed", length_words(int(limit) / 1000), ""))
    return shown


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Steps of one phase."""

    title: str
    steps: list[Step]


def step_groups(steps: Sequence[Step]) -> list[StepGroup]:
    """The steps in their order, under their phases."""
    grouped = groupby(steps, key=lambda step: step.phase)
    return [StepGroup(_PHASES_OF_STEPS.get(phase, phase.capitalize()), list(members)) for phase, members in grouped]


def asked_for(job: Job) -> list[tuple[str, str]]:
    """(name, value) of the parameters that say something; a default that means nothing is left out."""
    units = {
        "bandwidth_mib": " MiB/s", "max_downtime_ms": " ms", "timeout_seconds": " s", "probation_seconds": " s",
        "keep_hours": " h", "longest_pause_seconds": " s",
    }  # fmt: skip
    shown = []
    for name, label in _PARAMS.items():
        value = job.params.get(name)
        if value in (None, "", 0, False):
            continue
        value = _VALUES.get((name, value), value)
        shown.append((label, "yes" if value is True else f"{value}{units.get(name, '')}"))
    return shown


def downtime_words(result: Mapping[str, Any]) -> str:
    """By whom a downtime was measured."""
    return {
        "hypervisor": "downtime, measured by the hypervisor",
        "events": "downtime, measured between the hosts' events",
    }.get(str(result.get("downtime_source")), "downtime was not measured")
