"""The paths between hosts: looking them up, writing down what a canary found, and telling canaries from VMs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from hypervisor.types import CANARY_MIB, GuestState
from inventory.models import Host, HostPair


def path_between(source: Host, destination: Host) -> HostPair:
    """What is known of the path from one host to another; a row of its own from the first time on."""
    pair, _ = HostPair.objects.get_or_create(source=source, destination=destination)
    return pair


def path_observed(
    pair: HostPair, *, ok: bool, why: str = "", seconds: float | None = None, shared: Collection[str] = ()
) -> None:
    """Write down whether a canary got through, how long it took, and which storage the hosts share."""
    facts = {"ok": ok, "why": why[:500], "seconds": seconds, "proved_at": timezone.now(), "shared": sorted(shared)}
    HostPair.objects.filter(pk=pair.pk).update(**facts)


def unreachable_from(host: Host) -> QuerySet[Any]:
    """Ids of the hosts that the last canary from this host did not get to."""
    return HostPair.objects.broken().filter(source=host).values("destination")


def may_share_storage(host: Host) -> bool:
    """Whether the disks of a host's VMs may be seen by another host: by declaration, or as was proved of some path."""
    return host.cluster.shared_storage or any(pair.shared for pair in HostPair.objects.filter(source=host, ok=True))


def paths_of(host: Host, others: QuerySet[Host]) -> list[HostPair]:
    """The paths from a host to these others of its cluster and back, those included that were never proved."""
    found = list(others.filter(cluster=host.cluster_id).exclude(pk=host.pk).order_by("name"))
    routes = [route for other in found for route in ((host, other), (other, host))]
    pairs = HostPair.objects.filter(Q(source=host, destination__in=found) | Q(source__in=found, destination=host))
    known = {(pair.source_id, pair.destination_id): pair for pair in pairs.select_related("source", "destination")}
    return [known.get((one.pk, two.pk)) or HostPair(source=one, destination=two) for one, two in routes]


def without_canaries(guests: Sequence[GuestState]) -> list[GuestState]:
    """A host's guests without our own canaries. One is known by its UUID, but only as what it is: transient and tiny.
    Whatever else has such a UUID is shown.
    """
    like_one = {guest.uuid for guest in guests if is_like_a_canary(guest)}
    if not like_one:
        return list(guests)
    found = HostPair.objects.filter(canary__in=like_one).values_list("canary", flat=True)
    ours = like_one & {str(uuid) for uuid in found}
    return [guest for guest in guests if guest.uuid not in ours]


def is_like_a_canary(guest: GuestState) -> bool:
    """Whether it is what a canary is: transient and tiny."""
    return not guest.persistent and guest.memory_mib <= CANARY_MIB
