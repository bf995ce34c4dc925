"""Work of every kind for the pages to show: done, failed, under way, advised."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from inventory.models import Cluster, Load
from jobs.models import Control, Curve, Job, Look, Step
from jobs.operations.rebalance.proposal import propose, written
from jobs.states import State
from tests import factories as make


def two_steps(job: Any) -> None:
    """A step that went well and one that failed, with much to tell."""
    now = timezone.now()
    for position, state in enumerate((Step.State.DONE, Step.State.FAILED)):
        Step.objects.create(
            job=job,
            position=position,
            phase="execute",
            name=f"step-{position}",
            title="Migrate",
            state=state,
            detail="found " * (1 + 60 * position),
            started_at=now,
            finished_at=now,
        )


def three_jobs(vm: Any, busy: Any, person: Any) -> tuple[Any, Any, Any]:
    """A migration that runs, one that is done, and a patch that was rolled back."""
    now = timezone.now()
    progress = {"phase": "warm-up", "remaining_bytes": 2**30, "total_bytes": 2**32, "bps": 2**26, "dirty_bps": 2**27}
    live = make.job(
        busy,
        by=person,
        operation="vm.migrate",
        state=State.RUNNING,
        started_at=now,
        phase="warm-up",
        percent=60,
        progress=progress | {"iteration": 3, "throttle_percent": 20, "downtime_limit_ms": 300},
    )
    result = {"source": "north-1", "destination": "south-1", "seconds": 7.4, "downtime_ms": 142, "iterations": 3}
    done = make.job(
        vm,
        by=person,
        operation="vm.migrate",
        state=State.SUCCEEDED,
        started_at=now - timedelta(minutes=2),
        finished_at=now,
        percent=100,
        result=result | {"downtime_source": "hypervisor", "post_copy": False, "phases": []},
    )
    two_steps(done)
    packages = [{"package": "ledgerd", "old": "2.3.0-1", "new": "2.3.1-1"}]
    patch = make.job(
        vm,
        by=person,
        operation="vm.patch",
        state=State.FAILED,
        finished_at=now,
        error_code="unhealthy_after_patch",
        error_message="Units have failed.",
        result={"packages": packages, "snapshot": "patch-1", "rolled_back": True, "reboot_required": True},
    )
    return live, done, patch


def work_on_hosts(host: Any, other: Any, vm: Any, busy: Any, live: Any, person: Any) -> tuple[Any, Any]:
    """A drain that waits for one part and has left one VM, and a preview of a migration; the live one has a course."""
    rows = [[second, (9 - second) * 2**28, 2**26, 2**25 * (1 + second % 3), 300, 0] for second in range(9)]
    Curve.objects.create(job=live, points=rows)
    Control.objects.create(job=live, verb=Control.Verb.SET_BANDWIDTH, value=200, requester_name="otto")
    extent = {str(one.pk): one.segment_id for one in (vm, busy)}
    drain = Job.objects.create(
        operation="host.drain", host=host, target_name=host.name, requested_by=person, requester_name="otto",
        state=State.WAITING, started_at=timezone.now(), phase="draining", progress={"moved": 1, "to_go": 2},
        journal={"extent": extent, "left": {str(vm.pk): ["device_tied", "A card of it cannot leave the host."]}},
    )  # fmt: skip
    Job.objects.filter(pk=live.pk).update(
        parent=drain, params={"destination": other.pk, "destination_name": other.name, "policy": "assured"}
    )
    result = {"source": "north-1", "destination": "south-1", "would_begin": True, "refused": [], "snapshots": 2}
    preview = make.job(
        vm, by=person, operation="vm.migrate_preview", state=State.SUCCEEDED, finished_at=timezone.now(),
        result=result | {"ends": False, "sentence": "The guest writes more than the link carries."},
    )  # fmt: skip
    return drain, preview


def work_on_clusters(cluster: Any, hosts: list[Any], segment: Any, person: Any) -> tuple[Any, Any]:
    """Advice for a cluster of which one host is used much more than the others, and rules of which one is broken."""
    now = timezone.now()
    crowd = [make.vm(f"ledger-batch-{number}", segment=segment, host=hosts[0]) for number in range(4)]
    for vm in crowd:
        Load.objects.create(vm=vm, host=hosts[0], cpu_time_ns=0, observed_at=now, since=now, cpu_cores=3.5)
    make.placement_rule(cluster, crowd[0], crowd[1], name="batch pair")
    placement = make.placement_rule(cluster, kind="only_on", segment=segment, hosts=hosts, name="ledger hosts")
    Cluster.objects.filter(pk=cluster.pk).update(balancing="advise")
    found = propose(person, cluster)
    Look.objects.create(cluster=cluster, looked_at=now, planned=len(found.moves), verdict=found.verdict)
    advice = Job.objects.create(
        operation="cluster.rebalance", cluster=cluster, target_name=cluster.name, requested_by=person,
        requester_name="otto", state=State.SUCCEEDED, started_at=now, finished_at=now, percent=100,
        params={"mode": "advise", "most_moves": 20}, result=found.figures, journal={"plan": written(found)},
    )  # fmt: skip
    return advice, placement
