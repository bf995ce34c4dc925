"""What of placement rules an onlooker may be told: the parts that they see, and how many others there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from access.gate import Actor, System
from inventory.models import VM, Host, PlacementRule, Segment


@dataclass(frozen=True, slots=True)
class SeenRule:
    """A rule with the parts of it that the onlooker sees; `hidden` counts the others."""

    rule: PlacementRule
    vms: list[VM]
    hosts: list[Host]
    segment: Segment | None
    other_segment: Segment | None
    hidden: int


def rules_seen(onlooker: Actor, rules: Collection[PlacementRule]) -> list[SeenRule]:
    """The same rules, by five statements for any number of them."""
    members = {rule.pk: list(rule.vms.all()) for rule in rules}
    homes = {rule.pk: list(rule.hosts.all()) for rule in rules}
    vms = _seen(onlooker, VM, {vm.pk for found in members.values() for vm in found})
    hosts = _seen(onlooker, Host, {host.pk for found in homes.values() for host in found})
    named = {key for rule in rules for key in (rule.segment_id, rule.other_segment_id) if key is not None}
    segments = _seen(onlooker, Segment, named)
    found = []
    for rule in rules:
        its_vms = sorted((vm for vm in members[rule.pk] if vm.pk in vms), key=lambda vm: vm.name)
        its_hosts = sorted((host for host in homes[rule.pk] if host.pk in hosts), key=lambda host: host.name)
        of_it = [key for key in (rule.segment_id, rule.other_segment_id) if key is not None]
        shown = len(its_vms) + len(its_hosts) + sum(key in segments for key in of_it)
        total = len(members[rule.pk]) + len(homes[rule.pk]) + len(of_it)
        one, other = (segments.get(key or 0) for key in (rule.segment_id, rule.other_segment_id))
        found.append(SeenRule(rule, its_vms, its_hosts, one, other, hidden=total - shown))
    return found


def _seen(onlooker: Actor, model: Any, keys: Collection[int]) -> dict[int, Any]:
    queryset = model.objects.all() if isinstance(onlooker, System) else model.objects.visible_to(onlooker)
    found: dict[int, Any] = queryset.in_bulk(keys) if keys else {}
    return found
