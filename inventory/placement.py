"""May this VM be on this host, with these neighbours? One decision, asked wherever a VM is placed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from inventory.models import PlacementRule

Kind = PlacementRule.Kind
_NOWHERE: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM, by its id and that of its segment."""

    key: int
    segment: int | None


@dataclass(frozen=True, slots=True)
class Rule:
    """A placement rule, as `PlacementRule` has it, in ids."""

    key: int
    name: str
    kind: str
    vms: frozenset[int] = frozenset()
    segment: int | None = None
    other: int | None = None
    hosts: frozenset[int] = frozenset()

    def is_about(self, guest: Guest) -> bool:
        """Whether it says anything about a VM."""
        return guest.key in self.vms or (guest.segment is not None and guest.segment in (self.segment, self.other))


def objection(
    guest: Guest,
    host: int,
    neighbours: Collection[Guest],
    rules: Collection[Rule],
    settled: Mapping[int, int] = _NOWHERE,
) -> Rule | None:
    """The first rule that speaks against a VM's being on a host, or None.

    `neighbours` are the VMs that run there, or are on their way there. `settled` says on which host each VM that has to
    be together with others stays: one that has to leave its own host keeps nobody there.
    """
    return next((rule for rule in rules if _speaks_against(rule, guest, host, neighbours, settled)), None)


def _speaks_against(
    rule: Rule, guest: Guest, host: int, neighbours: Collection[Guest], settled: Mapping[int, int]
) -> bool:
    others = [other for other in neighbours if other.key != guest.key]
    match rule.kind:
        case Kind.APART:
            return guest.key in rule.vms and any(other.key in rule.vms for other in others)
        case Kind.TOGETHER:
            fellows = rule.vms - {guest.key} if guest.key in rule.vms else frozenset()
            if any(other.key in fellows for other in others):
                return False
            return any(settled.get(fellow, host) != host for fellow in fellows)
        case Kind.ONLY_ON:
            return guest.segment is not None and guest.segment == rule.segment and host not in rule.hosts
        case _:
            rivals = {rule.segment: rule.other, rule.other: rule.segment}
            rival = rivals.get(guest.segment) if guest.segment is not None else None
            return rival is not None and any(other.segment == rival for other in others)


_SENTENCES = {
    Kind.APART: "The placement rule “{rule}” keeps {vm} apart from a VM on {host}.",
    Kind.TOGETHER: "The placement rule “{rule}” keeps {vm} together with VMs that are not on {host}.",
    Kind.ONLY_ON: "The placement rule “{rule}” lets the segment of {vm} run on other hosts only, not on {host}.",
    Kind.NEVER_BESIDE: "The placement rule “{rule}” forbids {vm} beside a VM of another segment, which is on {host}.",
}  # fmt: skip


def sentence(rule: Rule, vm: object, host: object) -> str:
    """What the rule says against this VM on this host. It names no other VM: not everybody may know of them."""
    return _SENTENCES[Kind(rule.kind)].format(rule=rule.name, vm=vm, host=host)


def rules_of(cluster_id: int) -> tuple[Rule, ...]:
    """A cluster's rules, by three statements; by one where there are none."""
    rows = PlacementRule.objects.filter(cluster=cluster_id).prefetch_related("vms", "hosts").order_by("name")
    return tuple(
        Rule(
            key=row.pk,
            name=row.name,
            kind=row.kind,
            vms=frozenset(vm.pk for vm in row.vms.all()),
            segment=row.segment_id,
            other=row.other_segment_id,
            hosts=frozenset(host.pk for host in row.hosts.all()),
        )
        for row in rows
    )
