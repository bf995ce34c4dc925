"""Ganeti's `hbal`: as a peer that plans, and as the referee that tells the score of any placement.

The text format is the one that htools(1) describes for `-t`; what each line holds is that of ganeti 3.0's
`Ganeti.HTools.Backend.Text`. The disks are on shared storage (template `ext`), so that each of its moves is a live
migration, as ours are.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.balancing.estate import Estate, Ints

#: No limit that matters but memory: the widest sizes, and 64 vCPUs for each core.
POLICY = "1024,1,1024,1,1,1|1,1,0,0,0,0;1048576,1024,1048576,16,8,12|ext|64.0|32.0"


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """What hbal did: its scores as it prints them, its moves, where the VMs are then, and the seconds it took."""

    before: float
    after: float
    steps: int
    place: Ints
    seconds: float


def ask(estate: Estate) -> PeerPlan:
    """Let hbal balance the cluster. Raises RuntimeError when it does not say what it should."""
    said, seconds = _run(estate, estate.host, "-C")
    scores = re.search(r"improved from ([\d.]+) to ([\d.]+)", said)
    if scores is None:
        raise RuntimeError(f"hbal said no scores: {said[-500:]}")
    place = estate.host.copy()
    moves = re.findall(r"gnt-instance migrate -f -n host(\d+) vm(\d+)", said)
    for host, vm in moves:
        place[int(vm)] = int(host)
    if not np.isclose(score(estate, place), float(scores[2]), atol=1e-7):
        raise RuntimeError("hbal's moves were not read as it meant them")
    return PeerPlan(float(scores[1]), float(scores[2]), len(moves), place, seconds)


def score(estate: Estate, place: Ints) -> float:
    """hbal's own score for a placement: what it prints as the initial score when that is its input."""
    said, _ = _run(estate, place, "-l", "1")
    found = re.search(r"Initial score: ([\d.]+)", said)
    if found is None:
        raise RuntimeError(f"hbal said no score: {said[-500:]}")
    return float(found[1])


def _run(estate: Estate, place: Ints, *options: str) -> tuple[str, float]:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as name:
        cluster, use = Path(name) / "cluster", Path(name) / "use"
        cluster.write_text(_cluster(estate, place))
        use.write_text("".join(f"vm{vm:05d} {u[2]:.6f} {u[3]:.6f} 0 0\n" for vm, u in enumerate(estate.loads)))
        began = time.perf_counter()
        done = subprocess.run(["hbal", "-t", cluster, "-U", use, *options], capture_output=True, text=True, check=True)
        return done.stdout, time.perf_counter() - began


def _cluster(estate: Estate, place: Ints) -> str:
    free = estate.capacity_mib - np.bincount(place, weights=estate.memory_mib, minlength=estate.hosts)
    groups = ["group|group-id|preferred||"]
    hosts = [
        f"host{host:03d}|{size:.0f}|0|{free[host]:.0f}|1000|1000|{cores:.0f}|N|group-id|1000||N|0|0|1.0"
        for host, (size, cores) in enumerate(estate.capacity[:, :2])
    ]
    vms = [
        f"vm{vm:05d}|{load[0]:.0f}|0|{load[1]:.0f}|running|Y|host{place[vm]:03d}||ext||0|-|N"
        for vm, load in enumerate(estate.loads)
    ]
    tags: list[str] = []
    policies = [f"|{POLICY}", f"group|{POLICY}"]
    return "\n\n".join("\n".join(part) for part in (groups, hosts, vms, tags, policies)) + "\n"
