"""Who is where in a cluster, as far as its placement rules ask: what is on its way counts where it goes as well."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from django.db.models import Q

from hypervisor.types import PowerState
from inventory.models import VM, Host
from inventory.placement import Guest, Rule, objection, rules_of, sentence
from jobs.models import Job

MIGRATE, START = "vm.migrate", "vm.start"
#: It only asks: it holds no VM and brings none anywhere.
PREVIEW = "vm.migrate_preview"
#: In these a VM takes nothing of its host but disk: it stays defined there and is in nobody's way.
OFF = frozenset({PowerState.SHUT_OFF.value, PowerState.CRASHED.value})
_NOBODY: Mapping[int, int] = MappingProxyType({})


class Surroundings:
    """One look at a cluster. Reads nothing but the rules where there are none."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._guests: dict[int, Guest] = {}
        #: VM -> the hosts that it runs on or is on its way to.
        self._at: dict[int, set[int]] = {}
        #: VM -> the host that it stays on, as things are.
        self._settled: dict[int, int] = {}

    @classmethod
    def of(cls, cluster_id: int, *, before: Job | None = None, along: Collection[int] = ()) -> Surroundings:
        """As observed now. With `before`, only those are on their way that were asked for earlier than that job, which
        so does not stand in its own way. VMs that move `along` keep nobody where they are: they are to follow.
        """
        around = cls(rules_of(cluster_id))
        if around.rules:
            around._look(cluster_id, before, along)
        return around

    def objection(self, vm: VM, host: int, placed: Mapping[int, int] = _NOBODY) -> Rule | None:
        """The rule that speaks against the VM's being on that host, if one does; `placed` says which VMs a plan has put
        elsewhere already (VM -> host).
        """
        guest = Guest(vm.pk, vm.segment_id)
        about = [rule for rule in self.rules if rule.is_about(guest)]
        if not about:
            return None
        return objection(guest, host, self._on(host, placed), about, {**self._settled, **placed})

    def _on(self, host: int, placed: Mapping[int, int]) -> list[Guest]:
        here = [self._guests[pk] for pk, hosts in self._at.items() if host in hosts and placed.get(pk, host) == host]
        known = {guest.key for guest in here}
        coming = [pk for pk, place in placed.items() if place == host and pk in self._guests and pk not in known]
        return here + [self._guests[pk] for pk in coming]

    def _look(self, cluster_id: int, before: Job | None, along: Collection[int]) -> None:
        segments = {rule.segment for rule in self.rules} | {rule.other for rule in self.rules}
        named = set().union(*(rule.vms for rule in self.rules))
        concerned = VM.objects.filter(
            Q(pk__in=named) | Q(segment__in=segments - {None}), host__cluster=cluster_id, missing_since=None
        )
        for pk, segment, host, state in concerned.values_list("pk", "segment", "host", "power_state"):
            self._guests[pk] = Guest(pk, segment)
            self._at[pk] = set() if state in OFF else {host}
        coming = self._on_their_way(before)
        for pk, host in coming.items():
            self._at[pk].add(host)
        self._settle(cluster_id, coming, along)

    def _on_their_way(self, before: Job | None) -> dict[int, int]:
        """VM -> the host that a job brings it to, or starts it on."""
        jobs = Job.objects.active().filter(operation__in=(MIGRATE, START), vm__in=self._guests)
        if before is not None:
            jobs = jobs.filter(created_at__lt=before.created_at).exclude(vm=before.vm_id)
        rows = jobs.values_list("vm", "operation", "vm__host", "params__destination")
        return {vm: host if operation == START else destination for vm, operation, host, destination in rows}

    def _settle(self, cluster_id: int, coming: Mapping[int, int], along: Collection[int]) -> None:
        """A VM stays where it goes to, or is; but not on a host that is being emptied or that is forbidden to it."""
        resting = Host.objects.filter(cluster=cluster_id).exclude(availability__in=Host.TAKING_VMS)
        emptied = set(resting.values_list("pk", flat=True))
        wanted = {pk: coming.get(pk, next(iter(hosts))) for pk, hosts in self._at.items() if hosts}
        self._settled = {
            pk: host
            for pk, host in wanted.items()
            if (pk in coming or pk not in along)
            and host not in emptied
            and objection(self._guests[pk], host, self._on(host, _NOBODY), self.rules) is None
        }


def forbidden(vm: VM, host: Host, *, before: Job | None = None, part_of: Job | None = None) -> str:
    """What a placement rule says against this VM on this host, in a sentence; "" when none does. What moves `part_of` a
    job moves along with the other VMs that the job is about.
    """
    along = part_of.concerned if part_of is not None else ()
    rule = Surroundings.of(host.cluster_id, before=before, along=along).objection(vm, host.pk)
    return sentence(rule, vm, host) if rule is not None else ""
