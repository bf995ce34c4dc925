"""What VMs and segments say about their migrations."""

from __future__ import annotations

from ipaddress import ip_address

from django.db import transaction

from access import gate
from access.actions import Action
from access.gate import Actor
from audit.events import EventAction
from audit.record import record
from inventory.errors import InvalidInventoryRequest
from inventory.models import VM, MigrationPolicy, Segment


@transaction.atomic
def vm_set_migration(*, actor: Actor, vm: VM, policy: str, address: str | None) -> VM:
    """Say how far a VM's migrations may go ("": as its segment says), and at which address the pause is measured from
    outside, if any. Needs EDIT on the VM. Raises InvalidInventoryRequest.
    """
    gate.authorise(actor, Action.EDIT, vm)
    _check_policy(policy)
    vm = VM.objects.select_for_update(of=("self",)).select_related("segment").get(pk=vm.pk)
    before = {"migration_policy": vm.migration_policy, "probe_address": vm.probe_address}
    after = {"migration_policy": policy, "probe_address": _guest_address(address)}
    if before != after:
        vm.migration_policy, vm.probe_address = policy, after["probe_address"]
        vm.save(update_fields=["migration_policy", "probe_address"])
        record(EventAction.VM_CHANGED, target=vm, actor=actor, before=before, after=after)
    return vm


@transaction.atomic
def segment_set_migration(*, actor: Actor, segment: Segment, policy: str) -> Segment:
    """Say how far the migrations of a segment's VMs may go ("": gently). Needs EDIT on the segment. Raises
    InvalidInventoryRequest.
    """
    gate.authorise(actor, Action.EDIT, segment)
    _check_policy(policy)
    segment = Segment.objects.select_for_update(of=("self",)).get(pk=segment.pk)
    before, segment.migration_policy = segment.migration_policy, policy
    if before != policy:
        segment.save(update_fields=["migration_policy"])
        facts = {"before": {"migration_policy": before}, "after": {"migration_policy": policy}}
        record(EventAction.SEGMENT_CHANGED, target=segment, actor=actor, **facts)
    return segment


def _check_policy(policy: str) -> None:
    if policy and policy not in MigrationPolicy.values:
        known = ", ".join(MigrationPolicy.values)
        raise InvalidInventoryRequest(f"There is no policy “{policy[:60]}”; there are {known}.", field="policy")


def _guest_address(text: str | None) -> str | None:
    """A guest's address that may be probed: one machine's, and not this one's own."""
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidInventoryRequest(f"“{text[:60]}” is no IP address.", field="address") from None
    if getattr(address, "scope_id", None):
        raise InvalidInventoryRequest(
            f"“{text[:60]}” names a card of some machine; give the address alone.", field="address"
        )
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_reserved:
        raise InvalidInventoryRequest(f"{address} is not the address of a guest.", field="address")
    return str(address)
