"""The crash list: a migration is struck in its middle, again and again, and what follows is held against the promises.

    script/bench crashes --runs 200 --seed 7       # goes on where the same seed stopped
    script/bench crashes --seed 7 --only 12        # one round again

Every round is determined by the seed and its number (`bench.crash.rounds`), and stands as a line in
`var/bench/crashes-SEED.jsonl`. A round whose fault met no step in flight does not count.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import ROOT, Goal, report
from lab.estate import Lab

if TYPE_CHECKING:
    from bench.crash.ground import Ground

GUEST = "struck"


def command(arguments: Sequence[str]) -> None:
    """Play rounds until so many count, and report."""
    parser = argparse.ArgumentParser(prog="script/bench crashes")
    parser.add_argument("--runs", type=int, default=200, help="rounds that count, those of earlier runs included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, nargs="+", help="these rounds alone, without writing them down")
    chosen = parser.parse_args(arguments)
    path = ROOT / "var" / "bench" / f"crashes-{chosen.seed}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    _alone(path)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the lab and the processes are ended
    rows = _written(path)
    with _ground(f"crashes-{chosen.seed}") as ground:
        from bench.crash.history import FINAL
        from bench.crash.playing import play
        from bench.crash.rounds import round_of

        if chosen.only is not None:
            for number in chosen.only:
                row = play(ground, round_of(chosen.seed, number))
                print(json.dumps(row), _line(row), sep="\n", flush=True)
            return
        number = max((row["number"] for row in rows), default=-1) + 1
        while sum(row["counts"] for row in rows) < chosen.runs:
            row = play(ground, round_of(chosen.seed, number))
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            rows.append(row)
            print(_line(row), file=sys.stderr, flush=True)
            number += 1
            if row["end"]["state"] not in FINAL:
                break  # the ground is spoiled
    if sum(row["counts"] for row in rows) < chosen.runs:
        os.execv(sys.executable, [sys.executable, "-m", "bench", "crashes", *arguments])  # noqa: S606 - ourselves
    _report(rows, chosen.seed)


def _alone(path: Path) -> None:
    """Two runs of one seed would share a lab. Raises SystemExit."""
    lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"Another run plays the rounds of {path.stem}.")


def _written(path: Path) -> list[dict[str, Any]]:
    """The rounds of earlier runs; a last line that was cut off is as if it had not been played."""
    rows = []
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    for line in whole.splitlines():
        rows.append(json.loads(line))
    return rows


def _line(row: dict[str, Any]) -> str:
    plan, end = row["round"], row["end"]
    verdict = "; ".join(row["violations"]) or ("ok" if row["counts"] else "missed")
    what = f"{row['number']:4} {plan['fault']:27} {plan['moment']:26} -> {end['state']} {end['code']}"
    return f"{what} ({row['over_after_heal_s']} s after, {row['seconds']['all']} s) {verdict}"


def _report(rows: list[dict[str, Any]], seed: int) -> None:
    counted = [row for row in rows if row["counts"]]
    bad = [row for row in counted if row["violations"]]
    after = sorted(row["over_after_heal_s"] for row in counted)
    figures = {
        "seed": seed,
        "rounds": len(rows),
        "missed": len(rows) - len(counted),
        "by_fault": dict(Counter(row["round"]["fault"] for row in counted)),
        "by_moment": dict(Counter(row["round"]["moment"] for row in counted)),
        "ends": dict(Counter(row["end"]["state"] for row in counted)),
        "over_after_heal_s": {"median": after[len(after) // 2], "most": after[-1]} if after else {},
        "violations": [{"round": row["number"], "found": row["violations"]} for row in bad],
    }
    report("crashes", len(counted), rows, figures, {"rounds_with_a_violation": Goal(0, len(bad))}, {})


@contextmanager
def _ground(name: str) -> Iterator[Ground]:
    """Bring up two hosts with a small guest, and Slipway's processes with the embedded default."""
    lab = Lab(name, os.environ.get("SLIPWAY_LAB_DIR") or ROOT / "var")
    data = ROOT / "var" / f"bench-{name}"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    lab.down()
    try:
        lab.up([])
        lab.add_guest(GUEST, "tiny", 1)
        yield from _slipway(lab, data)
    finally:
        lab.down()


def _slipway(lab: Lab, data: Path) -> Iterator[Ground]:
    os.environ.update(
        SLIPWAY_DATA_DIR=str(data),
        SLIPWAY_HOST_SCHEMES="qemu+tcp",
        SLIPWAY_BROKER_URL=f"redis+socket://{data / 'redis.sock'}",
        SLIPWAY_LOG_LEVEL="WARNING",
        DJANGO_SETTINGS_MODULE="portal.settings",
    )
    import django

    django.setup()
    from django.core.management import call_command

    from bench.crash.ground import WORKERS, Ground
    from tests.stack import Stack

    call_command("migrate", verbosity=0)
    with Stack(data, {"DJANGO_SETTINGS_MODULE": "portal.settings"}) as stack:
        user = _enrolled(lab)
        stack.start_all()
        stack.ensure_workers(*WORKERS)
        uuid = next(guest["uuid"] for guest in lab.status()["guests"] if guest["name"] == GUEST)
        yield Ground(lab, stack, user, GUEST, uuid, {host.name: host for host in lab.hosts()})


def _enrolled(lab: Lab) -> Any:
    """The lab's hosts in the inventory, and somebody who may migrate."""
    from access.gate import SYSTEM
    from inventory.models import VM
    from inventory.services.hosts import cluster_create, host_create
    from inventory.syncing import host_sync
    from tests import factories as make

    cluster = cluster_create(actor=SYSTEM, name="lab", shared_storage=True)
    for facts in lab.status()["hosts"]:
        host_sync(host_create(actor=SYSTEM, name=facts["name"], uri=facts["uri"], cluster=cluster), slow=True)
    segment = make.segment()
    VM.objects.update(segment=segment)
    user = make.user_with("maintainer", segment)
    make.grant(user, "placement", cluster)
    return user
