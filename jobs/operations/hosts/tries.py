"""What follows from how a VM's parts of a job have ended: done, again later, or given up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.operations.hosts.survey import Obstacle

#: A VM is tried so often; KubeVirt backs off likewise after a failed migration (0, 20, 40, 80 s ...).
MOST_TRIES = 3
FIRST_PAUSE = timedelta(seconds=10)
#: Trying again would end alike: a person has decided, or something about the VM has to be changed first.
FINAL = frozenset(
    {
        "cancelled", "rejected", "right_withdrawn", "device_tied", "storage_not_shared", "disk_cached",
        "emulation_unsafe", "split_brain", "definition_lost", "stale_definition", "guest_ignored_shutdown",
        "managed_save", "snapshots_not_copied",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """How one try ended. `code` is empty for one that succeeded."""

    at: datetime
    code: str = ""
    message: str = ""


def next_try(ended: Sequence[Ended], now: datetime) -> datetime | Obstacle | None:
    """When a VM is to be tried next, after these tries in their order: now (None), at a later time, or not any more.

    Only what came after the last success counts: a VM that is there again has come anew.
    """
    failed: list[Ended] = []
    for one in ended:
        failed = [*failed, one] if one.code else []
    if not failed:
        return None
    last = failed[-1]
    if last.code in FINAL or len(failed) >= MOST_TRIES:
        return Obstacle(last.code, last.message)
    due = last.at + FIRST_PAUSE * 2 ** (len(failed) - 1)
    return due if due > now else None
