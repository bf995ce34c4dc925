"""Segments, their networks, and which VM is in which."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db import transaction

from access import gate
from access.actions import Action
from access.gate import Actor
from audit.events import EventAction
from audit.record import record
from inventory.definitions import nic_findings_refresh
from inventory.errors import InvalidInventoryRequest
from inventory.models import VM, Alarm, Segment, SegmentNetwork
from inventory.services.hosts import validate


@transaction.atomic
def segment_create(*, actor: Actor, name: str, description: str = "", networks: Sequence[str] = ()) -> Segment:
    """Create a segment with its networks. Needs ASSIGN_SEGMENT on everything."""
    gate.authorise(actor, Action.ASSIGN_SEGMENT)
    segment = Segment(name=name.strip(), description=description)
    validate(segment)
    segment.save()
    _set_networks(segment, networks)
    record(
        EventAction.SEGMENT_CREATED,
        target=segment,
        actor=actor,
        after={"name": segment.name, "networks": sorted(networks)},
    )
    return segment


@transaction.atomic
def segment_set_networks(*, actor: Actor, segment: Segment, networks: Sequence[str]) -> None:
    """Replace a segment's networks. Needs ASSIGN_SEGMENT on everything: a network decides whose card is foreign."""
    gate.authorise(actor, Action.ASSIGN_SEGMENT)
    before = sorted(segment.networks.values_list("name", flat=True))
    _set_networks(segment, networks)
    record(
        EventAction.SEGMENT_CHANGED,
        target=segment,
        actor=actor,
        before={"networks": before},
        after={"networks": sorted(networks)},
    )


@transaction.atomic
def segment_set_silent(*, actor: Actor, segment: Segment, groups: Collection[str]) -> None:
    """Say which groups of changes from outside are recorded without an alarm. Needs GRANT on everything: whoever is
    watched by an alarm, the segment's owner included, does not silence it. Raises InvalidInventoryRequest.
    """
    gate.authorise(actor, Action.VIEW, segment)
    gate.authorise(actor, Action.GRANT)
    unknown = sorted(set(groups) - set(Alarm.values))
    if unknown:
        raise InvalidInventoryRequest(f"There is no group of changes “{unknown[0][:60]}”.", field="silent")
    segment = Segment.objects.select_for_update(of=("self",)).get(pk=segment.pk)
    before, segment.silent = segment.silent, sorted(set(groups))
    if before != segment.silent:
        segment.save(update_fields=["silent"])
        facts = {"before": {"silent": before}, "after": {"silent": segment.silent}}
        record(EventAction.SEGMENT_CHANGED, target=segment, actor=actor, **facts)


@transaction.atomic
def vm_assign_segment(*, actor: Actor, vm: VM, segment: Segment | None, reason: str = "") -> VM:
    """Put a VM into a segment, or into none. Needs ASSIGN_SEGMENT on the VM and on the segment it goes to.

    Out of a segment with approval rules, it needs GRANT on everything: who is bound by the rules does not carry a VM
    out of their reach.
    """
    vm = VM.objects.select_for_update(of=("self",)).select_related("segment").get(pk=vm.pk)
    gate.authorise(actor, Action.ASSIGN_SEGMENT, vm)
    if segment is not None:
        gate.authorise(actor, Action.ASSIGN_SEGMENT, segment)
    if vm.segment is not None and vm.segment != segment and vm.segment.approval_rules.exists():
        gate.authorise(actor, Action.GRANT)
    before = _place(vm.segment)
    vm.segment = segment
    vm.save(update_fields=["segment"])
    nic_findings_refresh([vm.pk])
    record(
        EventAction.VM_SEGMENT_ASSIGNED,
        target=vm,
        actor=actor,
        reason=reason,
        before=before,
        after=_place(segment),
    )
    return vm


def _place(segment: Segment | None) -> dict[str, object]:
    """The id too: where a VM was at some time is reckoned from it (`access.history`)."""
    return {"segment": segment.name if segment else None, "segment_id": segment.pk if segment else None}


def _set_networks(segment: Segment, networks: Sequence[str]) -> None:
    taken = SegmentNetwork.objects.filter(name__in=networks).exclude(segment=segment).first()
    if taken is not None:
        raise InvalidInventoryRequest(f"The network {taken.name} belongs to another segment.", field="networks")
    segment.networks.exclude(name__in=networks).delete()
    for name in networks:
        network, _ = SegmentNetwork.objects.get_or_create(segment=segment, name=name.strip())
        validate(network)
    nic_findings_refresh()
