"""A job's phases as stages on a line, in the field's terms. Pure: a job's facts in, stages out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.models import Job
from jobs.states import State

#: Phase, as operations name it -> (title, what happens in it).
_WORDS = {
    "checking": ("Checking", "nothing is touched yet"),
    "preparing": ("Preparing", "the destination gets ready"),
    "warm-up": ("Warm-up", "memory is copied, the guest runs"),
    "stop-and-copy": ("Stop-and-copy", "the guest stands still"),
    "post-copy": ("Post-copy", "runs there, the rest is fetched"),
    "verifying": ("Verifying", "the result is proven"),
    "saving": ("Saving", "disks, and memory if it runs"),
    "reverting": ("Reverting", "disks and memory go back"),
    "deleting": ("Deleting", "the VM stays as it is"),
    "planning": ("Planning", "the exact list of updates"),
    "applying": ("Applying", "the list is installed"),
    "checking health": ("Checking health", "as well as before?"),
    "working": ("Working", "the host does it"),
    "shutting down": ("Shutting down", "the guest ends by itself"),
    "rebooting": ("Rebooting", "the guest starts anew"),
    "draining": ("Draining", "VM after VM moves away"),
    "weighing": ("Planning", "what would move, and why"),
    "balancing": ("Balancing", "VM after VM moves"),
    "returning": ("Returning", "VM after VM comes home"),
    "travelling": ("Travelling", "a tiny VM goes each way"),
}
_LINES: dict[str, Sequence[str]] = {
    "vm.migrate": ("checking", "preparing", "warm-up", "stop-and-copy", "verifying"),
    "vm.patch": ("checking", "planning", "saving", "applying", "checking health", "verifying"),
    "snapshot.create": ("checking", "saving", "verifying"),
    "snapshot.revert": ("checking", "reverting", "verifying"),
    "snapshot.delete": ("checking", "deleting", "verifying"),
    "vm.shutdown": ("checking", "shutting down", "verifying"),
    "vm.reboot": ("checking", "rebooting", "verifying"),
    "vm.migrate_preview": ("checking", "verifying"),
    "host.drain": ("checking", "draining", "verifying"),
    "host.activate": ("checking", "returning", "verifying"),
    "host.prove_paths": ("checking", "travelling", "verifying"),
    "cluster.rebalance": ("checking", "weighing", "balancing", "verifying"),
}
_DEFAULT_LINE: Sequence[str] = ("checking", "working", "verifying")
#: Phases that are moments of a stage rather than stages.
_WITHIN = {
    "starting": "checking",
    "disk copy": "preparing",
    "finding out": "stop-and-copy",
    "post-copy": "stop-and-copy",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `state` is "done", "now", "stopped" (where a job that did not succeed ended) or "ahead"."""

    title: str
    hint: str
    state: str
    seconds: float | None = None


def stages(job: Job) -> list[Stage]:
    """The stages of a job, as far as it is or got."""
    line = list(_LINES.get(job.operation, _DEFAULT_LINE))
    if is_post_copy(job) and "stop-and-copy" in line:
        line[line.index("stop-and-copy")] = "post-copy"
    if job.result.get("up_to_date"):
        line = ["checking", "planning", "verifying"]
    at = _position(job, line)
    took = _lengths(job.result.get("phases", ()))
    return [Stage(*_WORDS[name], _state(job, place, at), took.get(name)) for place, name in enumerate(line)]


def is_post_copy(job: Job) -> bool:
    """Whether a migration went, or goes, through post-copy."""
    return bool(job.result.get("post_copy")) or job.progress.get("phase") == "post-copy"


def announcement(job: Job) -> str:
    """One sentence for who hears the page rather than sees it; changes with the phase, not with each figure."""
    if job.is_over:
        return f"{job.label}: {job.get_state_display().lower()}."
    phase = job.phase or job.get_state_display().lower()
    return f"{job.label}: {phase}."


def _position(job: Job, line: list[str]) -> int:
    """Which stage the job is in, or was in when it ended; -1 before the first."""
    if job.state == State.SUCCEEDED:
        return len(line)
    phase = str(job.progress.get("phase", "")) or ("checking" if job.started_at else "")
    if phase not in line:
        phase = _WITHIN.get(phase, phase)
    if phase in line:
        return line.index(phase)
    return -1


def _state(job: Job, place: int, at: int) -> str:
    if place < at:
        return "done"
    if place > at:
        return "ahead"
    return "stopped" if job.is_over else "now"


def _lengths(phases: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {str(entry["phase"]): float(entry["seconds"]) for entry in phases}
