"""Emptying a host and filling it again: Slipway's `host.drain` and `host.activate` over the same moves by hand.

By hand is what an operator without a portal types: `xargs -P 2 virsh migrate --live --p2p ...` over the guests' names,
as many at once as Slipway. Both arms are timed until the destination itself runs every guest; what Slipway does beyond
that (the checks before, the record) is in its makespan all the same. From outside both, it is watched how many guests
arrive at the destination at once.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from bench.report import Goal, median, report
from bench.site import BenchSite, bench_site, engine
from hypervisor.protocol import Hypervisor
from hypervisor.types import PowerState, StateReason
from portal.demo.estate import discovered

GUESTS = 12
#: By hand as many at once as Slipway lets out of a host (`jobs.operations.hosts.pace`).
AT_ONCE = 2
#: Slipway's makespan over that by hand, which neither plans nor checks nor verifies. The limit is our own.
GOAL_RATIO = 1.25
LOOK_EVERY = 0.02


def main(rounds: int = 3) -> None:
    """Empty the first host and fill it again `rounds` times by each arm, alternating in the order A B B A."""
    rows: list[dict[str, Any]] = []
    with bench_site() as site:
        names = _fill(site)
        first, second = sorted(site.hosts)
        arms = [by_hand, by_slipway]
        for number in range(rounds):
            for arm in arms if number % 2 == 0 else reversed(arms):
                for source, destination in ((first, second), (second, first)):
                    row = _timed(site, arm, names, source, destination)
                    rows.append(row)
                    print(row, file=sys.stderr)
        versions = engine(site)
    figures: dict[str, Any] = {"guests": GUESTS, "at_once": AT_ONCE}
    for arm in ("by_hand", "by_slipway"):
        of_arm = [row for row in rows if row["arm"] == arm]
        figures[f"makespan_{arm}_s"] = median([row["seconds"] for row in of_arm])
        figures[f"most_at_once_{arm}"] = max(row["most_at_once"] for row in of_arm)
    goals = {
        "makespan_ratio": Goal(GOAL_RATIO, figures["makespan_by_slipway_s"] / figures["makespan_by_hand_s"]),
        "most_at_once": Goal(AT_ONCE, figures["most_at_once_by_slipway"]),
    }
    report("drain", 2 * rounds, rows, figures, goals, versions)


def by_hand(site: BenchSite, names: list[str], source: str, destination: str) -> None:
    """The anchor. Raises CalledProcessError."""
    flags = ["--live", "--p2p", "--persistent", "--undefinesource", "--unsafe"]
    virsh = ["virsh", "-q", "-c", site.uris[source], "migrate", *flags, "{}", site.uris[destination]]
    argv = ["xargs", "-P", str(AT_ONCE), "-I{}", *virsh]
    subprocess.run(argv, check=True, capture_output=True, text=True, input="\n".join(names))


def by_slipway(site: BenchSite, names: list[str], source: str, destination: str) -> None:
    """The first host is drained; it is filled again by activating it."""
    ids = {host["name"]: host for host in site.api.get("hosts/")["results"]}
    drains = ids[source]["availability"] == "active" and ids[destination]["availability"] == "active"
    asked = site.api.ask(
        "host.drain" if drains else "host.activate", {"host": ids[source if drains else destination]["id"]}
    )
    job = site.api.follow(asked["id"])
    if job["state"] != "succeeded":
        raise RuntimeError(f"{job['operation']} {job['state']}: {job['error']}")


def _timed(site: BenchSite, arm: Any, names: list[str], source: str, destination: str) -> dict[str, Any]:
    """One way, until the destination runs every guest."""
    _seen_by_slipway(site, source)
    with Arrivals(site.hosts[destination]) as arrivals:
        began = time.monotonic()
        arm(site, names, source, destination)
        ended = time.monotonic()
    return {
        "arm": arm.__name__,
        "to": destination,
        "seconds": round((arrivals.all_run_at or ended) - began, 3),
        "until_told_s": round(ended - began, 3),
        "most_at_once": arrivals.most,
    }


@dataclass
class Arrivals:
    """Watches a host: how many guests are arriving at once, and when the last of all runs. For use with `with`."""

    host: Hypervisor
    most: int = 0
    all_run_at: float | None = None

    def __enter__(self) -> Arrivals:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            guests = self.host.list_guests()
            waiting = [g for g in guests if g.state is PowerState.PAUSED and g.reason is StateReason.MIGRATION]
            self.most = max(self.most, len(waiting))
            running = sum(guest.state is PowerState.RUNNING for guest in guests)
            if running == GUESTS and self.all_run_at is None:
                self.all_run_at = time.monotonic()


def _fill(site: BenchSite) -> list[str]:
    """Guests on the first host beside the one that is there; their names."""
    for number in range(1, GUESTS):
        site.lab.add_guest(f"guest-{number}", "tiny", 1)
    names = [site.guest, *(f"guest-{number}" for number in range(1, GUESTS))]
    discovered(site.api, set(names))
    return names


def _seen_by_slipway(site: BenchSite, host: str) -> None:
    """Wait until Slipway sees every guest running there, and idle. Raises TimeoutError."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        vms = site.api.get(f"vms/?host={host}&power_state=running&page_size=100")["results"]
        if len(vms) == GUESTS and not any(vm["busy_job"] for vm in vms):
            return
        time.sleep(0.1)
    raise TimeoutError(f"Slipway does not see all guests on {host}")
