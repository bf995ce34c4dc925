"""Live migration: Slipway's own share of the time, over virsh's, alternating on the same guest.

A migration's length is QEMU's business. What a controller adds is the time from the request (the POST, the start of
virsh) to the guest running on the destination, by the destination's own event, minus the total that QEMU reports.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from bench.report import Goal, median, report
from bench.site import BenchSite, Observer, bench_site, engine
from hypervisor.types import EventKind

GOAL_RATIO = 1.05
GOAL_VERIFICATION_S = 1.0


def main(pairs: int = 10) -> None:
    """Measure `pairs` migrations by each arm, in the order A B B A."""
    rows: list[dict[str, Any]] = []
    with bench_site() as site:
        observer = Observer(site.uuid, site.hosts)
        arms = [virsh, portal]
        for arm in arms:  # once each, unmeasured: connections and caches warm up
            arm(site, observer)
        for pair in range(pairs):
            for arm in arms if pair % 2 == 0 else reversed(arms):
                row = arm(site, observer)
                rows.append(row)
                print({key: row[key] for key in ("arm", "to_running_s", "qemu_total_s", "overhead_s")}, file=sys.stderr)
        observer.stop()
        versions = engine(site)
    by_arm = {name: [row for row in rows if row["arm"] == name] for name in ("virsh", "portal")}
    overhead = {name: median([row["overhead_s"] for row in own]) for name, own in by_arm.items()}
    verification = median([row["verification_s"] for row in by_arm["portal"]])
    figures = {
        "overhead_portal_s": overhead["portal"],
        "overhead_virsh_s": overhead["virsh"],
        "to_running_portal_s": median([row["to_running_s"] for row in by_arm["portal"]]),
        "to_running_virsh_s": median([row["to_running_s"] for row in by_arm["virsh"]]),
        "verification_s": verification,
        "post_to_start_s": median([row["post_to_start_s"] for row in by_arm["portal"]]),
        "start_to_call_s": median([row["start_to_call_s"] for row in by_arm["portal"]]),
        "checks": by_arm["portal"][-1]["checks"],
    }
    goals = {
        "overhead_ratio": Goal(GOAL_RATIO, overhead["portal"] / overhead["virsh"]),
        "verification_s": Goal(GOAL_VERIFICATION_S, verification),
    }
    report("migrate", pairs, rows, figures, goals, versions)


def virsh(site: BenchSite, observer: Observer) -> dict[str, Any]:
    """The anchor."""
    source = site.where()
    destination = next(name for name in site.hosts if name != source)
    flags = ["--live", "--p2p", "--persistent", "--undefinesource", "--unsafe"]
    began = time.monotonic()
    site.virsh(source, "migrate", *flags, site.guest, site.uris[destination])
    site.settled(destination)
    return _row("virsh", site, observer, destination, began)


def portal(site: BenchSite, observer: Observer) -> dict[str, Any]:
    """Slipway, through its API."""
    source = site.where()
    destination = next(name for name in site.hosts if name != source)
    body = {"operation": "vm.migrate", "target": {"vm": site.vm}, "params": {"destination": destination}}
    began = time.monotonic()
    job = site.api.follow(site.api.post("jobs/", body)["id"])
    if job["state"] != "succeeded":
        raise RuntimeError(f"the migration {job['state']}: {job['error']}")
    site.settled(destination)
    steps = {step["name"]: step for step in job["steps"]}
    row = _row("portal", site, observer, destination, began)
    row["post_to_start_s"] = _between(job["created_at"], job["started_at"])
    row["start_to_call_s"] = _between(job["started_at"], steps["migrate"]["started_at"])
    row["verification_s"] = _between(steps["luggage_on"]["finished_at"], job["finished_at"])
    row["checks"] = sorted(steps)
    return row


def _row(arm: str, site: BenchSite, observer: Observer, destination: str, began: float) -> dict[str, Any]:
    running = observer.last(began, EventKind.RESUMED, host=destination)
    completed = site.hosts[destination].completed_migration(site.uuid)
    if running is None or completed is None:
        raise RuntimeError(f"{destination} did not tell when the guest ran")
    total = completed.elapsed_ms / 1000
    return {
        "arm": arm,
        "to_running_s": round(running - began, 4),
        "qemu_total_s": total,
        "overhead_s": round(running - began - total, 4),
        "downtime_ms": completed.downtime_ms,
    }


def _between(earlier: str, later: str) -> float:
    from datetime import datetime

    return round((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds(), 4)
