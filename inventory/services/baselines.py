"""What segments and VMs say about their baselines."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import Actor
from audit.events import EventAction
from audit.record import record
from inventory.errors import InvalidInventoryRequest
from inventory.models import VM, BaselinePolicy, Segment

#: The longest pause that a segment may allow, in seconds.
LONGEST_PAUSE = 3600


@transaction.atomic
def segment_set_baseline(*, actor: Actor, segment: Segment, policy: str, longest_pause: int) -> Segment:
    """Say when a segment's VMs get their baseline by themselves, and how many seconds a running one may stand still for
    it (0: only while it is off). Needs EDIT on the segment. Raises InvalidInventoryRequest.
    """
    gate.authorise(actor, Action.EDIT, segment)
    if policy not in BaselinePolicy.values:
        known = ", ".join(BaselinePolicy.values)
        raise InvalidInventoryRequest(f"There is no policy “{policy[:60]}”; there are {known}.", field="policy")
    if not 0 <= longest_pause <= LONGEST_PAUSE:
        raise InvalidInventoryRequest(f"A pause is 0 to {LONGEST_PAUSE} s long.", field="longest_pause")
    segment = Segment.objects.select_for_update(of=("self",)).get(pk=segment.pk)
    before = {"baseline_policy": segment.baseline_policy, "longest_baseline_pause": segment.longest_baseline_pause}
    after = {"baseline_policy": policy, "longest_baseline_pause": longest_pause}
    if before != after:
        segment.baseline_policy, segment.longest_baseline_pause = policy, longest_pause
        segment.save(update_fields=list(after))
        record(EventAction.SEGMENT_CHANGED, target=segment, actor=actor, before=before, after=after)
    return segment


@transaction.atomic
def vm_set_installed(*, actor: Actor, vm: VM, installed: bool) -> VM:
    """Say that a VM is installed, so that it gets its baseline by itself, or take that back. Needs SNAPSHOT on the VM:
    who may take its baseline may have it taken.
    """
    gate.authorise(actor, Action.SNAPSHOT, vm)
    vm = VM.objects.select_for_update(of=("self",)).select_related("segment").get(pk=vm.pk)
    if (vm.installed_at is not None) != installed:
        before = {"installed": not installed}
        vm.installed_at = timezone.now() if installed else None
        vm.save(update_fields=["installed_at"])
        record(EventAction.VM_CHANGED, target=vm, actor=actor, before=before, after={"installed": installed})
    return vm
