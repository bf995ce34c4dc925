"""Guests that write faster than a slow link carries: who completes their migration, how soon, with which gap.

Each guest writes its hot memory over and over at one rate. It is migrated by virsh as it comes, by virsh with
auto-converge, and by each of Slipway's policies, one after the other from whichever host it is on, all with the same
cap of the bandwidth. What is not over after `LIMIT` seconds is aborted, and counts as not completed. The gap is the
longest time in which the guest answered nobody on its network, from the call to its end, by echoes every 20 ms from
outside; a guest that is slowed down answers late, and that is in it too.

Under software emulation QEMU before 9.0 can lose memory writes while it copies, with `pti=on` too once the guest is
slowed down a lot and answers echoes meanwhile (then its kernel writes, and is not entered anew). A guest that is dead
afterwards is no measurement of either arm: it is started anew and the run repeated, and how often that was is told.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from bench.pictures import course
from bench.report import ROOT, Goal, median, report
from bench.site import BenchSite, bench_site, engine
from hypervisor.echoes import Echoes

#: MiB/s: the cap of the link, and what the guests write: half of it, half as much again, and four times as much.
CAP = 16
RATES = (8, 24, 64)
#: MiB that a guest writes over and over: 2.5 s of the link.
HOT = 40
LIMIT = 150.0
#: A run is repeated so often at most where the emulation lost the guest.
MOST_TRIES = 4
POLICIES = ("gentle", "assured", "pause-ok", "large")
VIRSH: dict[str, tuple[str, ...]] = {"virsh": (), "virsh --auto-converge": ("--auto-converge",)}

Way = Callable[[BenchSite, str], dict[str, Any]]


def main(rounds: int = 3) -> None:
    """Migrate each guest `rounds` times by each arm."""
    rows: list[dict[str, Any]] = []
    arms: dict[str, Way] = {name: partial(by_virsh, flags=flags) for name, flags in VIRSH.items()}
    arms |= {name: partial(by_slipway, policy=name) for name in POLICIES}
    with bench_site() as site:
        site.lab.remove_guest(site.guest)
        for rate in RATES:
            subject = site.with_guest(f"writer-{rate}", "writer", rate=rate, size=HOT)
            for number in range(rounds):
                for name in list(arms) if number % 2 == 0 else reversed(list(arms)):
                    row = {"rate": rate, "arm": name, **_measured(subject, arms[name])}
                    rows.append(row)
                    print({key: value for key, value in row.items() if key != "curve"}, file=sys.stderr)
                    _drawn(row)
            subject.lab.remove_guest(subject.guest)
        versions = engine(site)
    figures = {arm: _figures([row for row in rows if row["arm"] == arm]) for arm in arms}
    report("converge", rounds, rows, figures, _goals(rows), versions)


def _drawn(row: dict[str, Any]) -> None:
    """The last course of each policy at each rate, as a picture beside the raw figures."""
    if len(row.get("curve", ())) > 2:
        title = f"{row['arm']}: a guest that writes {row['rate']} MiB/s over a link of {CAP} MiB/s"
        path = ROOT / "var" / "bench" / f"converge-{row['arm']}-{row['rate']}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(course(row["curve"], title))


def by_virsh(site: BenchSite, destination: str, *, flags: tuple[str, ...]) -> dict[str, Any]:
    """The anchor; whether it completed within the limit."""
    source = site.where()
    asked = ["--live", "--p2p", "--persistent", "--undefinesource", "--unsafe", "--bandwidth", str(CAP), *flags]
    argv = ["virsh", "-q", "-c", site.uris[source], "migrate", *asked, site.guest, site.uris[destination]]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return {"completed": process.wait(LIMIT) == 0}
    except subprocess.TimeoutExpired:
        site.virsh(source, "domjobabort", site.guest)
        return {"completed": process.wait(60) == 0}  # it may have completed after all


def by_slipway(site: BenchSite, destination: str, *, policy: str) -> dict[str, Any]:
    """Slipway, through its API; a cancel after the limit."""
    asked = site.api.ask("vm.migrate", {"vm": site.vm}, destination=destination, policy=policy, bandwidth_mib=CAP)
    try:
        job = site.api.follow(asked["id"], seconds=LIMIT)
    except TimeoutError:
        site.api.post(f"jobs/{asked['id']}/cancel/", {})
        job = site.api.follow(asked["id"], seconds=120)
    if job["state"] == "errored":
        raise RuntimeError(f"the migration errored: {job['error']}")
    return {
        "completed": job["state"] == "succeeded",
        "why": job["error"] and job["error"]["message"],
        "post_copy": (job["result"] or {}).get("post_copy"),
        "curve": job["curve"],
    }


def _measured(site: BenchSite, way: Way) -> dict[str, Any]:
    """One run that the guest lived through. Raises RuntimeError when the emulation loses it every time."""
    for lost in range(MOST_TRIES):
        row = _timed(site, way)
        if _lives(site):
            return {**row, "lost_by_emulation": lost}
        print(f"{site.guest} did not live through it: {row}", file=sys.stderr)
        site.lab.reset_guest(site.guest)
    raise RuntimeError(f"the emulation lost {site.guest} {MOST_TRIES} times on end")


def _lives(site: BenchSite) -> bool:
    """Whether the guest answers, and has found all that it wrote."""
    echoes = Echoes(site.address())
    answers = echoes.answered(5, seconds=15)
    echoes.stop()
    return answers and "LOST WRITE" not in site.lab.console(site.guest)


def _timed(site: BenchSite, way: Way) -> dict[str, Any]:
    source = site.where()
    site.settled(source)
    destination = next(name for name in site.hosts if name != source)
    echoes, began = Echoes(site.address()), time.monotonic()
    told = way(site, destination)
    seconds, silence = time.monotonic() - began, echoes.stop()
    completed = told["completed"]
    if (site.where() == destination) is not completed:
        raise RuntimeError(f"{site.guest} is not where its migration says")
    done = site.hosts[destination].completed_migration(site.uuid) if completed else None
    return {
        **told,
        "seconds": round(seconds, 2),
        "gap_ms": silence.longest_ms,
        "downtime_ms": done.downtime_ms if done else None,
    }


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """By rate: how many of how many were completed, and of these the medians."""
    figures = {}
    for rate in RATES:
        of_rate = [row for row in rows if row["rate"] == rate]
        done = [row for row in of_rate if row["completed"]]
        figures[str(rate)] = {
            "completed": f"{len(done)} of {len(of_rate)}",
            "seconds": median([row["seconds"] for row in done]) if done else None,
            "gap_ms": _middle([row["gap_ms"] for row in done]),
            "lost_by_emulation": sum(row["lost_by_emulation"] for row in of_rate),
        }
    return figures


def _goals(rows: list[dict[str, Any]]) -> dict[str, Goal]:
    """What virsh completes in any way at a rate, each policy completes there too, with a smaller gap: over that of the
    better of virsh's ways there, the median of the rates.
    """
    goals = {}
    theirs = {rate: gap for rate in RATES if (gap := _best(rows, rate, VIRSH)) is not None}
    for policy in POLICIES:
        ours = [row for row in rows if row["arm"] == policy and row["rate"] in theirs]
        done = [row for row in ours if row["completed"]]
        goals[f"completes_{policy}"] = Goal(1.0, len(done) / len(ours) if ours else 0.0, at_least=True)
        gaps = {rate: _best(rows, rate, [policy]) for rate in theirs}
        ratios = [gap / theirs[rate] for rate, gap in gaps.items() if gap is not None]
        if ratios:
            goals[f"gap_over_virsh_{policy}"] = Goal(1.0, median(ratios))
    return goals


def _best(rows: list[dict[str, Any]], rate: int, arms: Iterable[str]) -> float | None:
    """The smallest of the arms' median gaps at a rate, of what completed; None when nothing did."""
    gaps = [
        _middle([row["gap_ms"] for row in rows if (row["rate"], row["arm"]) == (rate, arm) and row["completed"]])
        for arm in arms
    ]
    return min((gap for gap in gaps if gap is not None), default=None)


def _middle(values: list[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
