"""What an approver has to know before deciding: what will be touched, and whether it is theirs to decide."""

from __future__ import annotations

from typing import Any

from inventory.models import VM, Snapshot
from jobs.approvals import Work
from jobs.approvals import may_decide as may_decide_on
from jobs.models import Job
from jobs.states import State


def may_decide(job: Job, user: Any) -> bool:
    """Whether to offer the buttons; the service decides again."""
    waits = job.state == State.AWAITING_APPROVAL and job.requested_by_id != user.pk
    return waits and may_decide_on(user, Work.of(job))


def touched(job: Job, user: Any) -> list[tuple[str, str]]:
    """What the work will touch, in words: the VM as it is now, and what would be lost; of a host the VMs that the user
    sees, each with its segment.
    """
    if job.vm is None:
        return [("Host", job.target_name), ("VMs", _named(job, user))]
    vm = job.vm
    facts = [
        ("VM", f"{vm.name}, {vm.get_power_state_display().lower()}"),
        ("Segment", vm.segment.name if vm.segment else "none"),
        ("Host", vm.host.name if vm.host else "none"),
    ]
    snapshot = vm.snapshots.filter(name=job.params.get("snapshot"), missing_since=None).first()
    if snapshot is not None and job.operation == "snapshot.revert":
        facts.append(("Will be lost", _lost(snapshot)))
        if not job.params.get("safety", True):
            facts.append(("Kept before", "nothing: there is no way back from this"))
    present = vm.baseline if job.params.get("replace") else None
    if present is not None:
        facts.append(("Baseline no more", f"{present.name}, of {present.created_at:%Y-%m-%d %H:%M} UTC"))
    return facts


def _named(job: Job, user: Any) -> str:
    """The VMs that work on a host is about."""
    vms: Any = VM.objects.visible_to(user).filter(pk__in=job.extent)
    seen = [
        f"{vm.name} ({vm.segment.name if vm.segment else 'no segment'})"
        for vm in vms.select_related("segment").order_by("name")
    ]
    hidden = len(job.extent) - len(seen)
    others = [f"{hidden} that you do not see"] if hidden else []
    return ", ".join([*seen, *others]) or "none"


def _lost(snapshot: Snapshot) -> str:
    later = snapshot.vm.snapshots.filter(created_at__gt=snapshot.created_at, missing_since=None).count()
    since = f"everything written since {snapshot.created_at:%Y-%m-%d %H:%M} UTC"
    return f"{since}; {later} later snapshot{'s' if later != 1 else ''} stay" + ("s" if later == 1 else "")
