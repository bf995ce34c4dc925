"""A cluster as it was observed, in the arrays that the planner takes. Reads the database only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
from django.db.models import Max
from django.utils import timezone

from access.actions import Action
from access.gate import Actor, System
from inventory.loads import FORGOTTEN_AFTER
from inventory.models import VM, Cluster, Host
from inventory.paths import may_share_storage
from inventory.placement import Kind, rules_of
from inventory.placement import Rule as PlacementRule
from jobs.balancing.estate import Apart, Estate, Floats, NeverBeside, OnlyOn, Rule, Together
from jobs.balancing.policy import COOL_DOWN_S
from jobs.models import Job
from jobs.operations.migrate.destinations import promises_mib, room_mib
from jobs.operations.migrate.prechecks import OVERHEAD_MIB
from jobs.operations.migrate.surroundings import MIGRATE, OFF, PREVIEW
from jobs.states import State

RESOURCES = ("CPU", "memory")
#: Operations whose approval rules keep Slipway from moving a segment's VMs by itself.
BOUND_BY = (MIGRATE, "cluster.rebalance")
#: A host's use in an earlier look, by its id: one number for each resource.
Window = Mapping[int, list[float]]
_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Asked:
    """What the hosts themselves said of VMs, which no row tells: to which hosts a VM cannot go, and how much memory it
    writes, in MiB/s.
    """

    barred: frozenset[tuple[int, int]] = frozenset()
    dirty_mib_s: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """The hosts and VMs, by the numbers that the planner has for them. `unknown` counts VMs of whose use of the CPU
    nothing is known yet; they count as idle.
    """

    cluster: Cluster
    hosts: list[Host]
    vms: list[VM]
    estate: Estate
    unknown: int

    def number_of(self, vm: int) -> int | None:
        """The planner's number of a VM, None for one that it was not told of."""
        return next((number for number, one in enumerate(self.vms) if one.pk == vm), None)

    def number_of_host(self, host: int) -> int | None:
        """The planner's number of a host, likewise."""
        return next((number for number, one in enumerate(self.hosts) if one.pk == host), None)

    def window(self) -> dict[str, list[float]]:
        """The hosts' use as it is now, to be kept for a later look."""
        rows = np.round(self.estate.utilisation, 4).tolist()
        return {str(host.pk): row for host, row in zip(self.hosts, rows, strict=True)}


def read(actor: Actor, cluster: Cluster, *, asked: Asked | None = None, past: Window = _NOTHING) -> Reading | None:
    """The cluster, with the eyes and the rights of who wants it balanced: a VM that they may not migrate stays and
    counts, a host on which they may not place takes none. None without a host to speak of.

    It is about the hosts that are active and answer. Those that are emptied or kept empty are the business of the work
    on them, and what a silent host runs is not known.
    """
    rows = Host.objects.filter(
        cluster=cluster, connection=Host.Connection.ONLINE, availability=Host.Availability.ACTIVE, cpus__gt=0,
        memory_mib__gt=0,
    )  # fmt: skip
    hosts = list(rows.order_by("name", "pk"))
    if not hosts:
        return None
    found = VM.objects.filter(host__in=hosts, missing_since=None).exclude(power_state__in=OFF)
    vms = list(found.select_related("load").order_by("name", "pk"))
    cores = [_cores(vm) for vm in vms]
    place = {host.pk: number for number, host in enumerate(hosts)}
    at = np.array([place[vm.host_id or 0] for vm in vms], dtype=np.int64)
    memory = np.array([float(vm.memory_mib) for vm in vms])
    needs = memory + OVERHEAD_MIB
    usable = _usable_mib(hosts, np.bincount(at, weights=needs, minlength=len(hosts)).astype(float))
    asked = asked or Asked()
    estate = Estate(
        resources=RESOURCES,
        capacity_mib=usable,
        capacity=np.stack([[float(host.cpus) for host in hosts], usable], axis=1),
        host=at,
        memory_mib=needs,
        loads=np.stack([[use or 0.0 for use in cores], memory], axis=1) if vms else np.zeros((0, 2)),
        dirty_mib_s=np.array([asked.dirty_mib_s.get(vm.pk, 0.0) for vm in vms]),
        segment=np.array([vm.segment_id or -1 for vm in vms], dtype=np.int64),
        moved_ago_s=_moved_ago_s(vms),
        movable=_movable(actor, cluster, vms),
        barred=np.array([[(vm.pk, host.pk) in asked.barred for host in hosts] for vm in vms], dtype=bool).reshape(
            len(vms), len(hosts)
        ),
        accepting=_accepting(actor, hosts),
        past=_past(hosts, past),
        rules=tuple(_rules(rules_of(cluster.pk), {vm.pk: n for n, vm in enumerate(vms)}, place)),
    )
    return Reading(cluster, hosts, vms, estate, unknown=sum(use is None for use in cores))


def _cores(vm: VM) -> float | None:
    load = getattr(vm, "load", None)
    if load is None or load.observed_at < timezone.now() - FORGOTTEN_AFTER:
        return None
    cores: float | None = load.cpu_cores
    return cores


def _usable_mib(hosts: Collection[Host], promised_here: Floats) -> Floats:
    """What of each host's memory VMs may take. Never more than it has beyond what it keeps; and where other things
    than VMs fill it, what the VMs have and what is free beside them.
    """
    coming = promises_mib()
    most = np.array([float(max(host.memory_mib - host.reserved_mib, 1)) for host in hosts])
    room = np.array([float(max(room_mib(host, coming), 0)) for host in hosts])
    usable: Floats = np.maximum(np.minimum(most, promised_here + room), 1.0)
    return usable


def _movable(actor: Actor, cluster: Cluster, vms: Collection[VM]) -> Any:
    """Those that run, that no job holds, that can move at all, and that the actor may migrate. What Slipway does by
    itself, it does to no VM whose segment wants somebody's approval for that.
    """
    keys = [vm.pk for vm in vms]
    theirs: Any = VM.objects.filter(pk__in=keys)
    if isinstance(actor, System):  # nobody would have approved it
        theirs = theirs.exclude(segment__approval_rules__operation__in=BOUND_BY)
    else:
        theirs = theirs.visible_to(actor, Action.MIGRATE)
    sharing = [host.pk for host in Host.objects.filter(cluster=cluster) if may_share_storage(host)]
    may = set(theirs.filter(host__in=sharing).values_list("pk", flat=True))
    busy = set(Job.objects.active().filter(vm__in=keys).exclude(operation=PREVIEW).values_list("vm", flat=True))
    return np.array(
        [vm.pk in may and vm.pk not in busy and vm.is_running and not vm.why_stopped for vm in vms], dtype=bool
    )


def _accepting(actor: Actor, hosts: Collection[Host]) -> Any:
    open_to: Any = Host.objects.filter(pk__in=[host.pk for host in hosts])
    if not isinstance(actor, System):
        open_to = open_to.visible_to(actor, Action.PLACE)
    places = set(open_to.values_list("pk", flat=True))
    return np.array([host.pk in places for host in hosts], dtype=bool)


def _moved_ago_s(vms: Collection[VM]) -> Floats:
    """How long ago each VM arrived by a migration; infinite beyond the cool-down."""
    now = timezone.now()
    lately = Job.objects.filter(
        operation=MIGRATE, state=State.SUCCEEDED, vm__in=[vm.pk for vm in vms],
        finished_at__gte=now - timedelta(seconds=COOL_DOWN_S),
    )  # fmt: skip
    last: dict[int, datetime] = dict(lately.order_by().values_list("vm").annotate(Max("finished_at")))
    return np.array([max((now - last[vm.pk]).total_seconds(), 0.0) if vm.pk in last else np.inf for vm in vms])


def _past(hosts: Collection[Host], past: Window) -> Floats | None:
    """An earlier look as the planner takes it; None unless it was of the same hosts."""
    if set(past) != {host.pk for host in hosts}:
        return None
    return np.array([[past[host.pk] for host in hosts]])


def _rules(rules: Collection[PlacementRule], vms: Mapping[int, int], hosts: Mapping[int, int]) -> list[Rule]:
    """The cluster's rules in the planner's words and numbers; what of them is elsewhere is left out."""
    found: list[Rule] = []
    for rule in rules:
        members = frozenset(vms[pk] for pk in rule.vms if pk in vms)
        if rule.kind == Kind.APART:
            found.append(Apart(members))
        elif rule.kind == Kind.TOGETHER:
            found.append(Together(members))
        elif rule.kind == Kind.ONLY_ON and rule.segment is not None:
            found.append(OnlyOn(rule.segment, frozenset(hosts[pk] for pk in rule.hosts if pk in hosts)))
        elif rule.segment is not None and rule.other is not None:
            found.append(NeverBeside(rule.segment, rule.other))
    return found
