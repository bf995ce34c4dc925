"""Live migration: Slipway's own share of the time, over virsh's, alternating on the same guest.

A migration's length is QEMU's business. What is left for whoever controls it is the time from the request (the POST,
the start of virsh) to the guest running on the destination, by the destination's own event, minus QEMU's own total:
from its status "setup" to "completed", by its own clock. libvirt's share (the destination's QEMU is started, the
definition handed over) is in it, and is the same for both.

Reported beside it, stricter: the same minus libvirt's total, which begins with the call.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Any

import libvirt
import libvirt_qemu

from bench.report import Goal, median, report
from bench.site import BenchSite, Observer, bench_site, engine
from hypervisor.libvirt_driver.loop import ensure_event_loop
from hypervisor.types import EventKind

GOAL_RATIO = 1.05
GOAL_VERIFICATION_S = 1.0


def main(pairs: int = 10) -> None:
    """Measure `pairs` migrations by each arm, in the order A B B A."""
    rows: list[dict[str, Any]] = []
    with bench_site() as site:
        observer, clock = Observer(site.uuid, site.hosts), QemuClock(site.uris.values())
        arms = [virsh, portal]
        for arm in arms:  # once each, unmeasured: connections and caches warm up
            arm(site, observer, clock)
        for pair in range(pairs):
            for arm in arms if pair % 2 == 0 else reversed(arms):
                row = arm(site, observer, clock)
                rows.append(row)
                print({name: row[name] for name in list(row)[:6]}, file=sys.stderr)
        observer.stop()
        clock.close()
        versions = engine(site)
    by_arm = {name: [row for row in rows if row["arm"] == name] for name in ("virsh", "portal")}
    figures: dict[str, Any] = {
        f"{what}_{arm}_s": median([row[f"{what}_s"] for row in by_arm[arm]])
        for what in ("to_running", "overhead", "beyond_libvirt", "to_end")
        for arm in by_arm
    }
    for what in ("post_to_start", "start_to_call", "verification"):
        figures[f"{what}_s"] = median([row[f"{what}_s"] for row in by_arm["portal"]])
    figures["checks"] = by_arm["portal"][-1]["checks"]
    goals = {
        "overhead_ratio": Goal(GOAL_RATIO, figures["overhead_portal_s"] / figures["overhead_virsh_s"]),
        "verification_s": Goal(GOAL_VERIFICATION_S, figures["verification_s"]),
    }
    report("migrate", pairs, rows, figures, goals, versions)


class QemuClock:
    """Each QEMU's own account of its migrations: the moments of their states, by its own clock."""

    def __init__(self, uris: Iterable[str]) -> None:
        ensure_event_loop()
        self._moments: list[tuple[str, float]] = []
        self._handles = [libvirt.open(uri) for uri in uris]
        for handle in self._handles:
            libvirt_qemu.qemuMonitorEventRegister(handle, None, "MIGRATION", self._take, None, 0)

    def close(self) -> None:
        """Listen no longer."""
        for handle in self._handles:
            handle.close()

    def _take(
        self, _handle: Any, _guest: Any, _event: str, seconds: int, micros: int, detail: str, _opaque: Any
    ) -> None:
        self._moments.append((json.loads(detail)["status"], seconds + micros / 1e6))

    def total(self, since: float) -> float:
        """Seconds from "setup" to "completed" of the last migration after `since` (Unix time). Both sides' QEMUs
        speak; on one machine their clocks are one, and the source is the first to begin and to complete.
        """
        began = min(at for status, at in self._moments if status == "setup" and at >= since)
        return min(at for status, at in self._moments if status == "completed" and at >= began) - began


def virsh(site: BenchSite, observer: Observer, clock: QemuClock) -> dict[str, Any]:
    """The anchor."""
    source = site.where()
    destination = next(name for name in site.hosts if name != source)
    flags = ["--live", "--p2p", "--persistent", "--undefinesource", "--unsafe"]
    began = time.monotonic()
    site.virsh(source, "migrate", *flags, site.guest, site.uris[destination])
    ended = time.monotonic()
    site.settled(destination)
    return _row("virsh", site, observer, clock, destination, began, ended)


def portal(site: BenchSite, observer: Observer, clock: QemuClock) -> dict[str, Any]:
    """Slipway, through its API."""
    source = site.where()
    destination = next(name for name in site.hosts if name != source)
    body = {"operation": "vm.migrate", "target": {"vm": site.vm}, "params": {"destination": destination}}
    began = time.monotonic()
    asked = site.api.post("jobs/", body)
    observer.wait(began, EventKind.RESUMED, host=destination)  # rather than polling, which would slow what is measured
    job = site.api.follow(asked["id"])
    if job["state"] != "succeeded":
        raise RuntimeError(f"the migration {job['state']}: {job['error']}")
    ended = time.monotonic()
    site.settled(destination)
    steps = {step["name"]: step for step in job["steps"]}
    row = _row("portal", site, observer, clock, destination, began, ended)
    row["post_to_start_s"] = _between(job["created_at"], job["started_at"])
    row["start_to_call_s"] = _between(job["started_at"], steps["migrate"]["started_at"])
    row["verification_s"] = _between(steps["luggage_on"]["finished_at"], job["finished_at"])
    row["checks"] = sorted(steps)
    return row


def _row(
    arm: str, site: BenchSite, observer: Observer, clock: QemuClock, destination: str, began: float, ended: float
) -> dict[str, Any]:
    running = observer.last(began, EventKind.RESUMED, host=destination)
    completed = site.hosts[destination].completed_migration(site.uuid)
    if running is None or completed is None:
        raise RuntimeError(f"{destination} did not tell when the guest ran")
    qemu = clock.total(time.time() - (time.monotonic() - began))
    return {
        "arm": arm,
        "to_running_s": round(running - began, 4),
        "qemu_total_s": round(qemu, 4),
        "libvirt_total_s": completed.elapsed_ms / 1000,
        "overhead_s": round(running - began - qemu, 4),
        "beyond_libvirt_s": round(running - began - completed.elapsed_ms / 1000, 4),
        "to_end_s": round(ended - began, 4),
        "downtime_ms": completed.downtime_ms,
    }


def _between(earlier: str, later: str) -> float:
    from datetime import datetime

    return round((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds(), 4)
