"""Placement: the rules of a cluster, what a host keeps for itself, and what Slipway does about balance by itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction

from access import gate
from access.actions import Action
from access.gate import Actor
from audit.events import EventAction
from audit.record import record
from inventory.errors import InvalidInventoryRequest
from inventory.models import VM, Cluster, Host, PlacementRule, Segment

Kind = PlacementRule.Kind


@transaction.atomic
def placement_rule_create(
    *,
    actor: Actor,
    cluster: Cluster,
    name: str,
    kind: str,
    vms: Collection[VM] = (),
    segment: Segment | None = None,
    other_segment: Segment | None = None,
    hosts: Collection[Host] = (),
) -> PlacementRule:
    """Set a rule for a cluster. Needs OPERATE_HOST on it, and VIEW on what the rule names.

    `apart` and `together` take `vms`; `only_on` a `segment` and `hosts`; `never_beside` a `segment` and
    `other_segment`. What is placed otherwise already stays so until it is moved. Raises NotVisible, NotAllowed,
    InvalidInventoryRequest.
    """
    gate.authorise(actor, Action.OPERATE_HOST, cluster)
    for named in (*vms, *hosts, *filter(None, (segment, other_segment))):
        gate.authorise(actor, Action.VIEW, named)
    _check_parts(kind, vms, segment, other_segment, hosts)
    _check_cluster(cluster, vms, hosts)
    rule = PlacementRule(cluster=cluster, name=name.strip(), kind=kind, segment=segment, other_segment=other_segment)
    if PlacementRule.objects.filter(cluster=cluster, name=rule.name).exists():
        raise InvalidInventoryRequest(f"{cluster} has a rule of this name already.", field="name")
    rule.save()
    rule.vms.set(vms)
    rule.hosts.set(hosts)
    record(EventAction.PLACEMENT_RULE_CREATED, target=rule, actor=actor, after=_facts(rule))
    return rule


@transaction.atomic
def placement_rule_delete(*, actor: Actor, rule: PlacementRule, reason: str = "") -> None:
    """Lift a rule. Needs OPERATE_HOST on its cluster."""
    gate.authorise(actor, Action.OPERATE_HOST, rule.cluster)
    record(EventAction.PLACEMENT_RULE_DELETED, target=rule, actor=actor, reason=reason, before=_facts(rule))
    rule.delete()


@transaction.atomic
def host_set_reserved(*, actor: Actor, host: Host, mib: int, reason: str = "") -> Host:
    """Say how much memory of a host is kept free of VMs. Needs OPERATE_HOST on it. Saying what is so already does
    nothing. Raises InvalidInventoryRequest for more than the host has.
    """
    gate.authorise(actor, Action.OPERATE_HOST, host)
    host = Host.objects.select_for_update(of=("self",)).get(pk=host.pk)
    most = host.memory_mib or 2**31 - 1
    if not 0 <= mib <= most:
        raise InvalidInventoryRequest(f"{host} has {most} MiB; so much can be reserved at most.", field="reserved_mib")
    before, host.reserved_mib = host.reserved_mib, mib
    if before != mib:
        host.save(update_fields=["reserved_mib"])
        facts = {"before": {"reserved_mib": before}, "after": {"reserved_mib": mib}}
        record(EventAction.HOST_CHANGED, target=host, actor=actor, reason=reason, **facts)
    return host


def _check_parts(
    kind: str, vms: Collection[VM], segment: Segment | None, other: Segment | None, hosts: Collection[Host]
) -> None:
    """Each kind has its own parts and no others."""
    if kind not in Kind.values:
        raise InvalidInventoryRequest("There is no such kind of rule.", field="kind")
    of_vms = kind in (Kind.APART, Kind.TOGETHER)
    if of_vms and len({vm.pk for vm in vms}) < 2:
        raise InvalidInventoryRequest("Such a rule is about two VMs or more.", field="vms")
    if not of_vms and segment is None:
        raise InvalidInventoryRequest("Such a rule is about a segment.", field="segment")
    if kind == Kind.ONLY_ON and not hosts:
        raise InvalidInventoryRequest("Such a rule names a host or more.", field="hosts")
    if kind == Kind.NEVER_BESIDE and (other is None or other == segment):
        raise InvalidInventoryRequest("Such a rule is about two different segments.", field="other_segment")
    surplus = {
        "vms": bool(vms) and not of_vms,
        "segment": segment is not None and of_vms,
        "hosts": bool(hosts) and kind != Kind.ONLY_ON,
        "other_segment": other is not None and kind != Kind.NEVER_BESIDE,
    }
    for field, is_surplus in surplus.items():
        if is_surplus:
            raise InvalidInventoryRequest("A rule of this kind does not take that.", field=field)


def _check_cluster(cluster: Cluster, vms: Collection[VM], hosts: Collection[Host]) -> None:
    for vm in vms:
        if vm.host is None or vm.host.cluster_id != cluster.pk:
            raise InvalidInventoryRequest(f"{vm} is not in the cluster {cluster}.", field="vms")
    for host in hosts:
        if host.cluster_id != cluster.pk:
            raise InvalidInventoryRequest(f"{host} is not in the cluster {cluster}.", field="hosts")


def _facts(rule: PlacementRule) -> dict[str, Any]:
    """What the record keeps of a rule."""
    return {
        "rule": rule.name,
        "kind": rule.kind,
        "vms": [{"id": vm.pk, "name": vm.name} for vm in rule.vms.order_by("pk")],
        "segment": rule.segment.name if rule.segment else None,
        "other_segment": rule.other_segment.name if rule.other_segment else None,
        "hosts": sorted(rule.hosts.values_list("name", flat=True)),
    }
