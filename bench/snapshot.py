"""Snapshots: taking and going back, Slipway over virsh, until the guest is in its new state by its host's own event."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from bench.report import Goal, median, report
from bench.site import BenchSite, Observer, bench_site, engine
from hypervisor.types import EventKind

GOAL_RATIO = 1.05
RUNNING = (EventKind.RESUMED, EventKind.STARTED)


def main(pairs: int = 10) -> None:
    """Measure `pairs` of create and revert by each arm, in the order A B B A."""
    rows: list[dict[str, Any]] = []
    with bench_site() as site:
        observer = Observer(site.uuid, site.hosts)
        host = site.where()
        arms = {"virsh": _virsh(site, host), "portal": _portal(site, observer, host)}
        for name in arms:
            _round(site, observer, host, name, arms[name], number=-1)
        for pair in range(pairs):
            order = list(arms) if pair % 2 == 0 else list(reversed(arms))
            for name in order:
                row = _round(site, observer, host, name, arms[name], number=pair)
                rows.append(row)
                print(row, file=sys.stderr)
        observer.stop()
        versions = engine(site)
    figures: dict[str, Any] = {}
    goals = {}
    for verb in ("create", "revert"):
        for name in arms:
            figures[f"{verb}_{name}_s"] = median([row[f"{verb}_s"] for row in rows if row["arm"] == name])
        goals[f"{verb}_ratio"] = Goal(GOAL_RATIO, figures[f"{verb}_portal_s"] / figures[f"{verb}_virsh_s"])
        whole = [row[f"{verb}_whole_s"] - row[f"{verb}_s"] for row in rows if row["arm"] == "portal"]
        figures[f"{verb}_verification_s"] = median(whole)
    report("snapshot", pairs, rows, figures, goals, versions)


Do = Callable[[str, str], None]


def _virsh(site: BenchSite, host: str) -> Do:
    verbs = {"create": "snapshot-create-as", "revert": "snapshot-revert", "delete": "snapshot-delete"}
    return lambda verb, name: site.virsh(host, verbs[verb], site.guest, name)


def _portal(site: BenchSite, observer: Observer, host: str) -> Do:
    def do(verb: str, name: str) -> None:
        params: dict[str, Any] = {"name": name} if verb == "create" else {"snapshot": name}
        if verb == "revert":
            params["safety"] = False  # as virsh does; with it, what a snapshot takes comes before
        began = time.monotonic()
        body = {"operation": f"snapshot.{verb}", "target": {"vm": site.vm}, "params": params}
        asked = site.api.post("jobs/", body)
        if verb != "delete":  # rather than polling, which would slow what is measured
            observer.wait(began, *RUNNING, host=host)
        job = site.api.follow(asked["id"])
        if job["state"] != "succeeded":
            raise RuntimeError(f"{verb} {job['state']}: {job['error']}")

    return do


def _round(site: BenchSite, observer: Observer, host: str, arm: str, do: Do, *, number: int) -> dict[str, Any]:
    name = f"bench-{arm}-{number}"
    row: dict[str, Any] = {"arm": arm}
    for verb in ("create", "revert"):
        began = time.monotonic()
        do(verb, name)
        row[f"{verb}_whole_s"] = round(time.monotonic() - began, 4)
        running = observer.last(began, *RUNNING)
        if running is None:
            raise RuntimeError(f"the host did not tell when the guest ran after {verb}")
        row[f"{verb}_s"] = round(running - began, 4)
        site.settled(host)
        if arm == "virsh":
            site.api.post(f"hosts/{_host_id(site, host)}/sync/", {})
    do("delete", name)
    site.settled(host)
    return row


def _host_id(site: BenchSite, name: str) -> int:
    return int(next(host["id"] for host in site.api.get("hosts/")["results"] if host["name"] == name))
