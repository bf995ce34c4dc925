"""Noting what changed on VMs: by what the hosts announced, and by what a reading found different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from hypervisor.types import EventKind, GuestEvent
from inventory.models import VM, Host, SeenChange

Kind = SeenChange.Kind

#: Announcements that are a change by themselves: one that is undone before anybody reads the state was made all the
#: same.
_ANNOUNCED: Mapping[EventKind, Kind] = MappingProxyType(
    {
        EventKind.STARTED: Kind.STARTED,
        EventKind.STOPPED: Kind.STOPPED,
        EventKind.SUSPENDED: Kind.SUSPENDED,
        EventKind.RESUMED: Kind.RESUMED,
        EventKind.REBOOTED: Kind.REBOOTED,
        EventKind.CRASHED: Kind.CRASHED,
        EventKind.METADATA_CHANGED: Kind.METADATA,
    }
)


def events_noted(host: Host, events: Iterable[GuestEvent]) -> None:
    """Note what a host announced about VMs that are known."""
    told = [(event, _ANNOUNCED[event.kind]) for event in events if event.kind in _ANNOUNCED]
    vms = {str(vm.uuid): vm for vm in VM.objects.filter(uuid__in={event.uuid for event, _kind in told})}
    SeenChange.objects.bulk_create(
        SeenChange(
            vm=vms[event.uuid],
            host_name=host.name,
            kind=kind,
            after={"detail": event.detail[:200]} if event.detail else {},
            seen_at=event.at,
        )
        for event, kind in told
        if event.uuid in vms
    )


def change_noted(
    vm: VM,
    kind: Kind,
    seen_at: datetime,
    *,
    host: Host | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Note what a reading found different."""
    SeenChange.objects.create(
        vm=vm, host_name=host.name if host else "", kind=kind, before=before or {}, after=after or {}, seen_at=seen_at
    )


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, as it was and as it is."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}
