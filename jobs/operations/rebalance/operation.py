"""`cluster.rebalance`: hosts evenly used and placement rules kept, by as few migrations as are worth it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from access.actions import Action
from access.gate import Actor
from hypervisor.errors import HypervisorError
from inventory.models import Cluster, Host
from inventory.paths import may_share_storage
from inventory.syncing import guests_read, host_facts_read, host_unreachable, loads_read
from jobs.engine.context import JobContext
from jobs.errors import CancelRequested, NotAdmitted, OperationFailed, RightWithdrawn
from jobs.operations.base import Operation
from jobs.operations.hosts.asking import hosts_object
from jobs.operations.hosts.drain import vms_words
from jobs.operations.hosts.parts import Parts
from jobs.operations.hosts.survey import Obstacle
from jobs.operations.migrate.policies import policy_wish
from jobs.operations.migrate.surroundings import MIGRATE
from jobs.operations.params import choice, integer, only
from jobs.operations.rebalance.carrying import GROUNDS, Carrying
from jobs.operations.rebalance.proposal import MOST_MOVES, Proposal, propose, standing_now, written
from jobs.operations.rebalance.reading import Asked

#: A plan that hosts object to is made anew, without what they object to, so often at most.
ROUNDS = 3
MIB = 2**20


class Rebalance(Operation):
    """Plans anew when it runs. Advises, or lets VM after VM migrate in the plan's order, each by a job of its own."""

    name = "cluster.rebalance"
    label = "Rebalance"
    action = Action.OPERATE_HOST
    target_kind = "cluster"

    def bound_by(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        return (self.name, MIGRATE) if params.get("mode") == "run" else ()

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "mode", "most_moves", "policy", "bandwidth_mib")
        return {
            "mode": choice(params, "mode", ("advise", "run"), default="advise"),
            "most_moves": integer(params, "most_moves", default=MOST_MOVES, low=1, high=200),
            "policy": policy_wish(params),
            "bandwidth_mib": integer(params, "bandwidth_mib", default=0, low=0, high=1_000_000),
        }

    def admit(self, actor: Actor, target: Cluster, params: dict[str, Any]) -> None:
        active = Host.objects.taking_vms().filter(cluster=target).select_related("cluster")
        if len(active) < 2:
            raise NotAdmitted("too_few_hosts", f"{target} has not two hosts that answer and take VMs.")
        if not any(may_share_storage(host) for host in active):
            raise NotAdmitted(
                "storage_not_shared", f"The cluster {target} has no shared storage; no VM can be moved in it."
            )

    def extent(self, actor: Actor, target: Cluster, params: dict[str, Any]) -> list[int]:
        if params.get("mode") != "run":
            return []
        asked = {name: params[name] for name in ("most_moves", "bandwidth_mib") if name in params}
        return sorted(move.vm.pk for move in propose(actor, target, **asked).moves)

    def precheck(self, context: JobContext) -> None:
        cluster = _cluster(context)
        with context.step("look", "See what runs on the cluster's hosts, and what it uses") as step:
            step.detail = _looked(context, cluster)
        with context.step("plan", "Plan, and ask the hosts whether the VMs can move") as step:
            found, objections = _planned(context, cluster)
            step.detail = found.verdict
        self._keep(context, found, objections)

    def execute(self, context: JobContext) -> None:
        if context.params["mode"] != "run":
            return
        with context.step("move", "Move the VMs, one after the other", shown_at_once=False) as step:
            parts = Parts(context)
            step.detail = f"{vms_words(len(parts.succeeded(MIGRATE)))} moved"
            parts.stop_if_asked()
            Carrying(context, _cluster(context), parts).go_on()
            parts.wait_if_unfinished()

    def verify(self, context: JobContext) -> None:
        """How even the cluster is now, as observed. Raises OperationFailed when a migration did not succeed."""
        if context.params["mode"] != "run":
            return
        moved = len(Parts(context).succeeded(MIGRATE))
        left: dict[str, list[str]] = context.job.journal.get("left", {})
        reached = standing_now(context.actor, _cluster(context), context.params["bandwidth_mib"])
        context.result(moved=moved, left=len(left), reached=reached)
        failed = sum(code not in GROUNDS for code, _why in left.values())
        if failed:
            raise OperationFailed(
                "rebalance_incomplete", f"{vms_words(moved)} moved, {failed} could not. What moved stays where it is."
            )

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """What has moved stays: each state on the way kept the rules."""
        if not isinstance(error, CancelRequested | RightWithdrawn) or context.params["mode"] != "run":
            return ""
        return f"{vms_words(len(Parts(context).succeeded(MIGRATE)))} had moved, and stay where they are."

    def _keep(self, context: JobContext, found: Proposal, objections: Mapping[int, Obstacle]) -> None:
        """The plan with ids goes to the journal, its figures to the result."""
        context.note(plan=written(found))
        context.result(**found.figures, objections=len(objections))


def _cluster(context: JobContext) -> Cluster:
    found: Cluster = Cluster.objects.get(jobs=context.job)
    return found


def _looked(context: JobContext, cluster: Cluster) -> str:
    """Read every active host; one that does not answer is left out of the plan."""
    silent, hosts = 0, list(Host.objects.taking_vms().filter(cluster=cluster).order_by("name"))
    for host in hosts:
        context.check_cancel()
        try:
            connection = context.on(host)
            host_facts_read(host, connection)
            guests_read(host, connection)
            loads_read(host, connection)
        except HypervisorError as error:
            host_unreachable(host, error)
            silent += 1
    return f"{len(hosts) - silent} hosts read" + (f", {silent} did not answer" if silent else "")


def _planned(context: JobContext, cluster: Cluster) -> tuple[Proposal, dict[int, Obstacle]]:
    """The plan that no host objects to, and what they objected to in earlier ones. What each VM to be moved writes is
    measured, since it decides what the move costs, and whether it would end.
    """
    barred: set[tuple[int, int]] = set()
    dirty: dict[int, float] = {}
    objections: dict[int, Obstacle] = {}
    most, bandwidth = context.params["most_moves"], context.params["bandwidth_mib"]
    for _ in range(ROUNDS):
        asked = Asked(frozenset(barred), dict(dirty))
        found = propose(context.actor, cluster, most_moves=most, bandwidth_mib=bandwidth, asked=asked)
        fresh = {(move.vm.pk, move.destination.pk) for move in found.moves} - barred
        news = False
        for number, move in enumerate(found.moves):
            context.check_cancel()
            context.progress("weighing", 0, checked=number, to_check=len(found.moves))
            if move.vm.pk not in dirty:
                dirty[move.vm.pk] = _writes_mib_s(context, move.source, str(move.vm.uuid))
                news = news or dirty[move.vm.pk] > 0
            obstacle = hosts_object(context, move.vm, move.source, move.destination)
            if obstacle is not None:
                objections[move.vm.pk] = obstacle
                barred.add((move.vm.pk, move.destination.pk))
        if not news and not fresh & barred:
            return found, objections
    asked = Asked(frozenset(barred), dict(dirty))
    return propose(context.actor, cluster, most_moves=most, bandwidth_mib=bandwidth, asked=asked), objections


def _writes_mib_s(context: JobContext, host: Host, uuid: str) -> float:
    """How much memory a VM writes, in MiB/s; 0 where it cannot be measured."""
    try:
        return context.on(host).dirty_rate(uuid) / MIB
    except HypervisorError:
        return 0.0
