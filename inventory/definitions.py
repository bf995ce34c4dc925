"""The slow lane: what is dear to ask about one VM, its definition and its snapshots, and where its NICs are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery

from hypervisor.types import GuestDefinition, SnapshotInfo
from inventory.approved import definition_read
from inventory.changes import Kind, change_noted, difference
from inventory.models import NIC, VM, SegmentNetwork, Snapshot
from inventory.snapshot_marks import unmarked

#: What Slipway and people say about a snapshot, as long as they have said nothing.
_UNSAID: dict[str, Any] = {
    "created_by": None, "pause_ms": None, "saved_mib": None, "taken_on": None, "expires_at": None,
}  # fmt: skip


@transaction.atomic
def definition_observed(vm: VM, definition: GuestDefinition, asked_at: datetime) -> None:
    """Take in a VM's definition, replacing its NICs by those it has now; what differs from the one read before is noted
    as a change.
    """
    vm = VM.objects.select_for_update(of=("self",)).get(pk=vm.pk)
    if vm.definition_observed_at is not None and vm.definition_observed_at > asked_at:
        return  # somebody who asked later was quicker
    before = _facts(vm) if vm.definition_observed_at is not None else None
    vm.title, vm.description = definition.title[:255], definition.description
    vm.virt_type, vm.machine = definition.virt_type, definition.machine[:60]
    vm.autostart, vm.persistent = definition.autostart, definition.persistent
    vm.agent_channel, vm.agent_connected = definition.agent_channel, definition.agent_connected
    vm.disks = [asdict(disk) for disk in definition.disks]
    vm.definition_observed_at = asked_at
    vm.save(
        update_fields=[
            "title", "description", "virt_type", "machine", "autostart", "persistent",
            "agent_channel", "agent_connected", "disks", "definition_observed_at",
        ]
    )  # fmt: skip
    vm.nics.exclude(mac__in=[nic.mac for nic in definition.nics]).delete()
    for nic in definition.nics:
        facts = {"source_kind": nic.source_kind[:20], "source": nic.source[:100], "model": nic.model[:30]}
        NIC.objects.update_or_create(vm=vm, mac=nic.mac, defaults=facts)
    nic_findings_refresh([vm.pk])
    facts = _facts(vm)
    is_other = definition.persistent and definition_read(vm, definition.xml, facts, asked_at)
    if before is not None:
        was, is_now = difference(before, facts)
        if is_now or is_other:
            was, is_now = (was, is_now) if is_now else ({}, {"elsewhere": "in what is not listed here"})
            change_noted(vm, Kind.DEFINITION, asked_at, host=vm.host, before=was, after=is_now)


def _facts(vm: VM) -> dict[str, Any]:
    """What of a definition is watched: not what a host fills in by itself at each start."""
    return {
        "title": vm.title,
        "description": vm.description,
        "machine": vm.machine,
        "autostart": vm.autostart,
        "persistent": vm.persistent,
        "disks": sorted([disk["target"], disk["source"], disk["read_only"]] for disk in vm.disks),
        "nics": sorted([nic.mac, nic.source_kind, nic.source] for nic in vm.nics.all()),
    }


@transaction.atomic
def snapshots_observed(
    vm: VM, snapshots: Sequence[SnapshotInfo], asked_at: datetime, *, is_first: bool = False
) -> None:
    """Take in a VM's snapshots. One that is no longer listed is marked missing, not dropped: a job may bring it
    back. What came and went since the reading before is noted as changes; at the first reading all of it is merely
    found.

    Another one under the name of one that was there has nothing of what was said about that. Under the name of the
    baseline it does not become what the VM is to fall back to: the baseline is missing.
    """
    vm = VM.objects.select_for_update(of=("self",)).get(pk=vm.pk)
    if vm.definition_observed_at is not None and vm.definition_observed_at > asked_at:
        return
    rows = {row.name: row for row in vm.snapshots.all()}
    known = {name for name, row in rows.items() if row.missing_since is None}
    snapshots = [info for info in snapshots if not _poses_as_baseline(rows.get(info.name), info)]
    for info in snapshots:
        row = rows.get(info.name)
        is_another = row is not None and row.created_at != info.created_at
        facts = (_UNSAID if is_another else {}) | {
            "description": unmarked(info.description),
            "created_at": info.created_at,
            "state": info.state.value,
            "kind": info.kind.value,
            "has_memory": info.has_memory,
            "parent_name": info.parent,
            "is_current": info.is_current,
            "observed_at": asked_at,
            "missing_since": None,
        }
        Snapshot.objects.update_or_create(vm=vm, name=info.name, defaults=facts)
    names = [info.name for info in snapshots]
    gone = Snapshot.objects.filter(vm=vm, observed_at__lt=asked_at, missing_since=None).exclude(name__in=names)
    lost = list(gone.values_list("name", flat=True))
    gone.update(missing_since=asked_at, is_current=False)
    if not is_first:
        for name in sorted(set(names) - known):
            change_noted(vm, Kind.SNAPSHOT_TAKEN, asked_at, host=vm.host, after={"snapshot": name})
        for name in lost:
            change_noted(vm, Kind.SNAPSHOT_GONE, asked_at, host=vm.host, before={"snapshot": name})


def _poses_as_baseline(row: Snapshot | None, info: SnapshotInfo) -> bool:
    """Whether a snapshot has the name of the baseline and is another one: the time at which a host took one stays."""
    return row is not None and row.is_baseline and row.created_at != info.created_at


def nic_findings_refresh(vm_ids: Iterable[int] | None = None) -> None:
    """Mark NICs that are on the network of a segment other than their VM's; by two statements, for some VMs or all."""
    nics = NIC.objects.all() if vm_ids is None else NIC.objects.filter(vm_id__in=list(vm_ids))
    owner = SegmentNetwork.objects.filter(name=OuterRef("source")).values("segment_id")[:1]
    own = VM.objects.filter(pk=OuterRef("vm_id")).values("segment_id")[:1]
    nics.update(foreign_segment_id=None)
    nics.annotate(owner=Subquery(owner), own=Subquery(own)).filter(
        Q(owner__isnull=False) & (Q(own__isnull=True) | ~Q(owner=F("own")))
    ).update(foreign_segment_id=Subquery(owner))
