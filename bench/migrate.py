"""Live migration: Slipway's own share of the time, over virsh's, alternating on the same guest.

A migration's length is QEMU's business. What is left for whoever controls it is the time from the request (the POST,
the start of virsh) to the guest running on the destination, by the destination's own event, minus QEMU's own total:
from its status "setup" to "completed", by its own clock. libvirt's share (the destination's QEMU is started, the
definition handed over) is in it, and is the same for both.

Reported beside it, stricter: the same minus libvirt's total, which begins with the call. From outside, the guest is
asked for an echo every 4 ms in both arms, with the same limit of the pause: the longest silence is what its users
notice.
"""

from __future__ import annotations

import json
import operator
import sys
import time
from collections.abc import Iterable
from typing import Any

import libvirt
import libvirt_qemu

from bench.intervals import bounds
from bench.report import Goal, median, percentile, report
from bench.site import BenchSite, Observer, bench_site, engine
from hypervisor.echoes import Echoes
from hypervisor.libvirt_driver.loop import ensure_event_loop
from hypervisor.types import EventKind

GOAL_RATIO = 1.05
GOAL_VERIFICATION_S = 1.0
GOAL_GAP_DIFFERENCE_MS = 30.0
GOAL_TO_START_S, GOAL_TO_VISIBLE_S = 0.05, 0.05
#: The limit of the pause in both arms: the first of Slipway's policy “gentle”.
LIMIT_MS = 150
ECHO_EVERY = 0.004


def main(pairs: int = 20) -> None:
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
    figures, goals = _judged(by_arm)
    report("migrate", pairs, rows, figures, goals, versions)


def _judged(by_arm: dict[str, list[dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, Goal]]:
    figures: dict[str, Any] = {
        f"{what}_{arm}_s": median([row[f"{what}_s"] for row in by_arm[arm]])
        for what in ("to_running", "overhead", "beyond_libvirt", "to_end")
        for arm in by_arm
    }
    figures |= {f"gap_{arm}_ms": median([row["gap_ms"] for row in by_arm[arm]]) for arm in by_arm}
    portal_rows = by_arm["portal"]
    for what in ("post_to_start", "start_to_call", "verification", "end_to_visible"):
        figures[f"{what}_s"] = median([row[f"{what}_s"] for row in portal_rows])
    figures["checks"] = portal_rows[-1]["checks"]
    overheads = [[row["overhead_s"] for row in by_arm[arm]] for arm in ("portal", "virsh")]
    gaps = [[row["gap_ms"] for row in by_arm[arm]] for arm in ("portal", "virsh")]
    figures["overhead_ratio_95"] = bounds(*overheads, operator.truediv)
    figures["gap_difference_95_ms"] = bounds(*gaps, operator.sub)
    goals = {
        "overhead_ratio": Goal(GOAL_RATIO, figures["overhead_portal_s"] / figures["overhead_virsh_s"]),
        "verification_s": Goal(GOAL_VERIFICATION_S, figures["verification_s"]),
        "gap_difference_ms": Goal(GOAL_GAP_DIFFERENCE_MS, figures["gap_difference_95_ms"][1]),
        "post_to_start_p99_s": Goal(GOAL_TO_START_S, percentile([row["post_to_start_s"] for row in portal_rows], 99)),
        "end_to_visible_p99_s": Goal(
            GOAL_TO_VISIBLE_S, percentile([row["end_to_visible_s"] for row in portal_rows], 99)
        ),
    }
    return figures, goals


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
    site.virsh(source, "migrate-setmaxdowntime", site.guest, str(LIMIT_MS))
    echoes, began = _asked(site), time.monotonic()
    site.virsh(source, "migrate", *flags, site.guest, site.uris[destination])
    ended = time.monotonic()
    gap = echoes.stop().longest_ms
    site.settled(destination)
    return _row("virsh", site, observer, clock, destination, began, ended) | {"gap_ms": gap}


def portal(site: BenchSite, observer: Observer, clock: QemuClock) -> dict[str, Any]:
    """Slipway, through its API."""
    source = site.where()
    destination = next(name for name in site.hosts if name != source)
    body = {"operation": "vm.migrate", "target": {"vm": site.vm}, "params": {"destination": destination}}
    echoes, began = _asked(site), time.monotonic()
    asked = site.api.post("jobs/", body)
    observer.wait(began, EventKind.STOPPED, host=source)  # rather than polling, which would slow what is measured
    visible = site.seen_at(destination)
    job = site.api.follow(asked["id"])
    if job["state"] != "succeeded":
        raise RuntimeError(f"the migration {job['state']}: {job['error']}")
    ended = time.monotonic()
    gap = echoes.stop().longest_ms
    site.settled(destination)
    steps = {step["name"]: step for step in job["steps"]}
    row = _row("portal", site, observer, clock, destination, began, ended)
    row["gap_ms"] = gap
    row["end_to_visible_s"] = round(visible - (observer.last(began, EventKind.STOPPED, host=source) or began), 4)
    row["post_to_start_s"] = _between(job["created_at"], job["started_at"])
    row["start_to_call_s"] = _between(job["started_at"], steps["migrate"]["started_at"])
    row["verification_s"] = _between(steps["luggage_on"]["finished_at"], job["finished_at"])
    row["checks"] = sorted(steps)
    return row


def _asked(site: BenchSite) -> Echoes:
    """Echoes of the guest, asked for some time before anything begins. Raises TimeoutError."""
    echoes = Echoes(site.address(), every=ECHO_EVERY)
    if not echoes.answered(20, seconds=10):
        raise TimeoutError(f"{site.guest} answers no echo")
    return echoes


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
