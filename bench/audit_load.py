"""Eight processes that write at full speed, with and without the record, while the sealer works."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.installation import execute
from bench.postgres import Postgres
from bench.report import ROOT, median, percentile

WRITERS = 8
#: The transaction that the goal is about, one of Slipway's own, and the seconds that each arm works in each round.
MAIN, SECONDS = "service", 4.0
#: Barer ones than Slipway has, which show what `record()` itself costs; with fewer rounds.
ASIDE = ("change", "update")
ARMS = ("plain", "audited")
SEALING_DEADLINE = 60.0


class Writers:
    """The processes, started once and used for all rounds."""

    def __init__(self) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.audit_writer", str(number), str(WRITERS)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for number in range(WRITERS)
        ]  # fmt: skip
        for process in self._processes:
            self._answer(process)

    def run(self, transaction: str, arm: str, seconds: float, server: Postgres) -> dict[str, Any]:
        """One arm of one round. `cpu_ms` is processor time for each transaction, of the writers and the server."""
        cpu = server.cpu_seconds()
        for process in self._processes:
            print(f"{transaction} {arm} {seconds}", file=process.stdin, flush=True)
        answers = [json.loads(self._answer(process)) for process in self._processes]
        cpu = server.cpu_seconds() - cpu + sum(answer["cpu_seconds"] for answer in answers)
        done = sum(answer["transactions"] for answer in answers)
        times = [took for answer in answers for took in answer["times_ms"]]
        return {
            "transaction": transaction,
            "arm": arm,
            "per_second": round(done / seconds, 1),
            "p50_ms": median(times),
            "p99_ms": percentile(times, 99),
            "cpu_ms": round(cpu / done * 1000, 3),
        }

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate()

    def _answer(self, process: subprocess.Popen[str]) -> str:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise RuntimeError("a writer has died")
        return line


@contextmanager
def sealer() -> Iterator[None]:
    """The sealer at work, as a process of its own."""
    process = subprocess.Popen([sys.executable, "manage.py", "sealer"], cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        if process.wait(SEALING_DEADLINE) != 0:
            raise RuntimeError(f"the sealer ended with status {process.returncode}")


def measure(rounds: int, server: Postgres) -> list[dict[str, Any]]:
    """All transactions by both arms, in the order A B B A, each begun with everything sealed."""
    rows = []
    writers = Writers()
    for transaction in (MAIN, *ASIDE):
        for arm in ARMS:  # once each, unmeasured: connections and caches warm up
            writers.run(transaction, arm, 1.0, server)
        for number in range(rounds if transaction == MAIN else max(1, rounds // 2)):
            for arm in ARMS if number % 2 == 0 else reversed(ARMS):
                wait_until_sealed()
                row = {"round": number, **writers.run(transaction, arm, SECONDS, server)}
                rows.append(row)
                print(row, file=sys.stderr)
    wait_until_sealed()
    writers.close()
    return rows


def ratios(rows: list[dict[str, Any]], transaction: str, what: str) -> list[float]:
    """For each round, what the plain arm had over what the audited one had, or the other way round for a rate."""
    by_arm = {
        arm: [row[what] for row in rows if (row["transaction"], row["arm"]) == (transaction, arm)] for arm in ARMS
    }
    pairs = zip(by_arm["plain"], by_arm["audited"], strict=True)
    return [audited / plain if what == "per_second" else plain / audited for plain, audited in pairs]


def wait_until_sealed() -> None:
    """Until the sealer has caught up. Raises TimeoutError."""
    from audit import rows

    deadline = time.monotonic() + SEALING_DEADLINE
    while rows.backlog().events:
        if time.monotonic() > deadline:
            raise TimeoutError("the sealer does not catch up")
        time.sleep(0.05)


def sealing_lags(after: int) -> list[float]:
    """Seconds between the commit of each event with an id above `after` and the commit of its seal, by the server's
    own record of commits (`track_commit_timestamp`).
    """
    statement = """
        SELECT EXTRACT(EPOCH FROM pg_xact_commit_timestamp(seal.xmin) - pg_xact_commit_timestamp(event.xmin))::float
          FROM audit_auditevent event JOIN audit_auditseal seal ON seal.event_id = event.id WHERE event.id > %s"""
    return [lag for (lag,) in execute(statement, [after])]
