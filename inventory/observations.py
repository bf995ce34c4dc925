"""Writing down what hosts said: sightings first, then the VMs derived from them.

An observation carries the moment just before the host was asked; a row that was written later by a fresher one is
left alone, so that a slow list cannot overwrite a quick event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from access.gate import SYSTEM
from audit.events import EventAction
from audit.record import record
from hypervisor.types import GuestState, PowerState
from inventory.changes import Kind, change_noted
from inventory.derive import Placement, Seen, placement
from inventory.models import VM, Host, Sighting
from inventory.paths import without_canaries

_COLUMNS = ("name", "state", "reason", "memory_mib", "vcpus")


@transaction.atomic
def guests_observed(
    host: Host, guests: Sequence[GuestState], asked_at: datetime, answered_at: datetime | None = None
) -> int:
    """Take in a host's whole list: new, changed and vanished domains. Returns how many sightings changed.

    A state that is new began before the host answered, and not before it was asked: so far a slow answer must not make
    a VM that moved meanwhile look as if two hosts ran it.
    """
    guests = without_canaries(guests)
    answered_at = answered_at or asked_at
    known = {sighting.uuid: sighting for sighting in Sighting.objects.filter(host=host)}
    fresh: list[Sighting] = []
    changed: list[Sighting] = []
    seen: set[UUID] = set()
    for guest in guests:
        uuid = UUID(guest.uuid)
        if uuid in seen:
            continue
        seen.add(uuid)
        sighting = known.get(uuid)
        if sighting is None:
            sighting = Sighting(host=host, uuid=uuid, state_since=answered_at)
            _take(sighting, guest, asked_at, answered_at)
            fresh.append(sighting)
        elif sighting.observed_at <= asked_at and _take(sighting, guest, asked_at, answered_at):
            changed.append(sighting)
    for uuid, sighting in known.items():
        if uuid not in seen and sighting.gone_at is None and sighting.observed_at <= asked_at:
            sighting.gone_at = sighting.observed_at = asked_at
            changed.append(sighting)
    Sighting.objects.bulk_create(fresh)
    Sighting.objects.bulk_update(changed, [*_COLUMNS, "state_since", "observed_at", "gone_at"], batch_size=200)
    Sighting.objects.filter(host=host, gone_at=None, observed_at__lt=asked_at).update(observed_at=asked_at)
    VM.objects.filter(host=host, missing_since=None, observed_at__lt=asked_at).update(observed_at=asked_at)
    vms_derive([*(sighting.uuid for sighting in (*fresh, *changed)), *_running_elsewhere_too(host)])
    return len(fresh) + len(changed)


@transaction.atomic
def guest_observed(
    host: Host, uuid: str, guest: GuestState | None, asked_at: datetime, answered_at: datetime | None = None
) -> None:
    """Take in what a host says about one domain; None: the host does not know it. Times as in `guests_observed`."""
    answered_at = answered_at or asked_at
    sighting = Sighting.objects.filter(host=host, uuid=UUID(uuid)).first()
    if sighting is None:
        if guest is None or not without_canaries([guest]):
            return
        sighting = Sighting(host=host, uuid=UUID(uuid), state_since=answered_at)
    elif sighting.observed_at > asked_at:
        return
    if guest is None:
        sighting.gone_at = sighting.gone_at or asked_at
    else:
        _take(sighting, guest, asked_at, answered_at)
    sighting.observed_at = asked_at
    sighting.save()
    vms_derive([sighting.uuid])


def _running_elsewhere_too(host: Host) -> list[UUID]:
    """Domains that this host and another one run, by their latest words: a split brain shows without any change."""
    running = Sighting.objects.filter(state=PowerState.RUNNING.value, gone_at=None)
    elsewhere = running.exclude(host=host).filter(uuid=OuterRef("uuid"))
    return list(running.filter(Exists(elsewhere), host=host).values_list("uuid", flat=True))


def _take(sighting: Sighting, guest: GuestState, asked_at: datetime, answered_at: datetime) -> bool:
    """Copy a guest's facts into its sighting; whether anything but the time changed."""
    before = [getattr(sighting, name) for name in _COLUMNS]
    if sighting.state != guest.state.value or sighting.gone_at is not None:
        sighting.state_since = answered_at
    was_gone, sighting.gone_at = sighting.gone_at is not None, None
    sighting.name = guest.name[:255]
    sighting.state, sighting.reason = guest.state.value, guest.reason.value
    sighting.memory_mib, sighting.vcpus = guest.memory_mib, guest.vcpus
    sighting.observed_at = asked_at
    return was_gone or before != [getattr(sighting, name) for name in _COLUMNS]


def vms_derive(uuids: Iterable[UUID]) -> None:
    """Derive VMs anew from their sightings, creating those seen for the first time. Inside a transaction."""
    wanted = list(set(uuids))
    for start in range(0, len(wanted), 500):
        _derive_batch(wanted[start : start + 500])


def _derive_batch(uuids: list[UUID]) -> None:
    sightings: dict[UUID, list[Sighting]] = {}
    for sighting in Sighting.objects.filter(uuid__in=uuids):
        sightings.setdefault(sighting.uuid, []).append(sighting)
    vms = {vm.uuid: vm for vm in VM.objects.select_related("segment").filter(uuid__in=uuids)}
    for uuid, rows in sightings.items():
        vm = vms.get(uuid)
        verdict = placement([_seen(row) for row in rows], vm.host_id if vm else None)
        row = next((row for row in rows if row.host_id == verdict.host_id), rows[0])
        _save(vm, uuid, row, verdict)


def _save(vm: VM | None, uuid: UUID, row: Sighting, verdict: Placement) -> None:
    is_new = vm is None
    vm = vm or VM(uuid=uuid)
    old_host, was_missing, old_state = vm.host_id, vm.missing_since is not None, vm.power_state
    was_split = vm.is_split
    vm.host_id, vm.power_state, vm.state_reason = verdict.host_id, verdict.state, verdict.reason
    vm.is_split, vm.observed_at = verdict.is_split, verdict.observed_at
    vm.missing_since = (vm.missing_since or timezone.now()) if verdict.is_missing else None
    if not verdict.is_missing:
        vm.name, vm.memory_mib, vm.vcpus = row.name, row.memory_mib, row.vcpus
    vm.save()
    if vm.is_split and not was_split:
        vm.split_at = vm.split_at or timezone.now()
        vm.save(update_fields=["split_at"])
        change_noted(vm, Kind.SPLIT, row.observed_at, host=row.host)
    if not is_new:
        _note_changes(vm, row, old_host, old_state, was_missing=was_missing)
    elif row.host.definitions_observed_at is not None:  # not one of those that a new host brings with it
        change_noted(vm, Kind.APPEARED, row.observed_at, host=row.host, after={"state": vm.power_state})
    if is_new:
        record(
            EventAction.VM_DISCOVERED, target=vm, actor=SYSTEM, after={"host": row.host.name, "state": vm.power_state}
        )
    elif verdict.is_missing and not was_missing:
        record(EventAction.VM_VANISHED, target=vm, actor=SYSTEM, before={"host": row.host.name})
    elif old_host != vm.host_id and vm.host is not None:
        record(
            EventAction.VM_MOVED, target=vm, actor=SYSTEM, before={"host_id": old_host}, after={"host": vm.host.name}
        )


def _note_changes(vm: VM, row: Sighting, old_host: int | None, old_state: str, *, was_missing: bool) -> None:
    """What this reading found different from the one before."""
    is_missing, at = vm.missing_since is not None, row.observed_at
    if is_missing or was_missing:
        if is_missing != was_missing:
            change_noted(vm, Kind.VANISHED if is_missing else Kind.RETURNED, at, host=row.host)
        return
    if old_host != vm.host_id:
        change_noted(vm, Kind.MOVED, at, host=row.host, before={"host_id": old_host}, after={"host": row.host.name})
    if PowerState.UNKNOWN.value not in (old_state, vm.power_state) and old_state != vm.power_state:
        states = {"before": {"state": old_state}, "after": {"state": vm.power_state}}
        change_noted(vm, Kind.POWER, at, host=row.host, **states)


def _seen(row: Sighting) -> Seen:
    return Seen(row.host_id, row.state, row.reason, row.state_since, row.observed_at, gone=row.gone_at is not None)
