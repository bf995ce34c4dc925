"""What an approver has to know before deciding: what will be touched, and whether it is theirs to decide."""

from __future__ import annotations

from typing import Any

from access import gate
from access.actions import Action
from inventory.models import Snapshot
from jobs.models import Job
from jobs.states import State


def may_decide(job: Job, user: Any) -> bool:
    """Whether to offer the buttons; the service decides again."""
    waits = job.state == State.AWAITING_APPROVAL
    return waits and job.requested_by_id != user.pk and gate.can(user, Action.APPROVE, job.target)


def touched(job: Job) -> list[tuple[str, str]]:
    """What the work will touch, in words: the VM as it is now, and what would be lost."""
    if job.vm is None:
        return [("On", job.target_name)]
    vm = job.vm
    facts = [
        ("VM", f"{vm.name}, {vm.get_power_state_display().lower()}"),
        ("Segment", vm.segment.name if vm.segment else "none"),
        ("Host", vm.host.name if vm.host else "none"),
    ]
    snapshot = vm.snapshots.filter(name=job.params.get("snapshot"), missing_since=None).first()
    if snapshot is not None and job.operation == "snapshot.revert":
        facts.append(("Will be lost", _lost(snapshot)))
    return facts


def _lost(snapshot: Snapshot) -> str:
    later = snapshot.vm.snapshots.filter(created_at__gt=snapshot.created_at, missing_since=None).count()
    since = f"everything written since {snapshot.created_at:%Y-%m-%d %H:%M} UTC"
    return f"{since}; {later} later snapshot{'s' if later != 1 else ''} stay" + ("s" if later == 1 else "")
