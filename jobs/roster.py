"""What becomes of each VM that work on a host or a cluster is about, for somebody who looks: only VMs that they see
are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from access.models import User
from inventory.models import VM
from jobs.models import Job
from jobs.states import State


class Fate(StrEnum):
    """Where a VM stands in the job."""

    WAITS = "waits"
    UNDER_WAY = "under_way"
    DONE = "done"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Entry:
    """One VM: where it stands, its last part of the job, and why it is left where it is left."""

    vm: VM
    fate: Fate
    part: Job | None
    code: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Roster:
    """The VMs that the onlooker sees, by name, and how many others there are."""

    entries: list[Entry]
    hidden: int

    @property
    def counts(self) -> dict[Fate, int]:
        """How many stand where."""
        return {fate: sum(entry.fate is fate for entry in self.entries) for fate in Fate}


def has_roster(job: Job) -> bool:
    """Whether it is work on several VMs: on a host, or on a cluster unless it only advises."""
    return job.vm_id is None and job.params.get("mode") != "advise"


def roster(onlooker: User, job: Job) -> Roster:
    """The roster of a job on a host or a cluster, by three SQL statements."""
    parts: dict[int, Job] = {}
    for part in Job.objects.filter(parent=job, vm__isnull=False).order_by("created_at", "id"):
        parts[part.vm_id or 0] = part
    left: dict[str, list[str]] = job.journal.get("left", {})
    ids = {*job.concerned, *parts, *map(int, left)}
    vms: Any = VM.objects.visible_to(onlooker).filter(pk__in=ids)
    seen = list(vms.select_related("host", "segment").order_by("name", "pk"))
    entries = [_entry(job, vm, parts.get(vm.pk), left.get(str(vm.pk))) for vm in seen]
    return Roster(entries, hidden=len(ids) - len(entries))


def _entry(job: Job, vm: VM, part: Job | None, left: list[str] | None) -> Entry:
    if part is not None and not part.is_over:
        return Entry(vm, Fate.UNDER_WAY, part)
    if left is not None:
        return Entry(vm, Fate.LEFT, part, *left)
    if part is not None and part.state == State.SUCCEEDED:
        return Entry(vm, Fate.DONE, part)
    if part is not None and job.is_over:
        return Entry(vm, Fate.LEFT, part, part.error_code, part.error_message)
    return Entry(vm, Fate.LEFT if job.is_over else Fate.WAITS, part)
