"""The record on PostgreSQL: what it costs eight writers, how soon it is sealed, how fast it is verified.

Writers are processes that commit small transactions through the real `record()`, while the real sealer works; the
anchor is the same transactions without it. Verification reads from the database, and its anchor is the integrity check
of `@xen-orchestra/audit-core` on the same events.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import audit_load
from bench.audit_core import PACKAGES, AuditCore, audit_core
from bench.installation import execute, facts, installation
from bench.postgres import Postgres
from bench.report import Goal, median, percentile, report

GOAL_THROUGHPUT, GOAL_LAG_S, GOAL_VERIFIED, GOAL_OVER_ANCHOR = 0.8, 1.0, 50_000, 3.0
#: In the record before anything is measured.
EVENTS = 60_000
VMS, SEGMENTS = 2_000, 10
CHECKS = 4
PAGE = 5_000


def main(rounds: int = 6) -> None:
    """Measure `rounds` of both arms for the main transaction, and half of that for those beside it."""
    with installation(track_commit_timestamp="on") as server, audit_core() as anchor:
        _fill()
        with audit_load.sealer():
            audit_load.wait_until_sealed()
            execute("VACUUM ANALYZE")
            last = execute("SELECT MAX(id) FROM audit_auditevent")[0][0]
            rows = audit_load.measure(rounds, server)
        lags = audit_load.sealing_lags(last)
        sizes: list[int] = []
        anchor.fill(_events(sizes))
        checks = _verify(server, anchor, len(sizes))
        engine = facts()
    figures = {**_load_figures(rows), **_check_figures(checks)}
    figures["sealing_lag_s"] = {
        "n": len(lags), "p50": median(lags), "p99": percentile(lags, 99), "max": round(max(lags), 4)
    }  # fmt: skip
    figures["event_bytes"] = {"slipway": round(statistics.mean(sizes)), "audit_core": round(anchor.mean_bytes)}
    goals = {
        "throughput_ratio": Goal(GOAL_THROUGHPUT, figures["throughput_ratio"][audit_load.MAIN], at_least=True),
        "sealing_lag_p99_s": Goal(GOAL_LAG_S, percentile(lags, 99)),
        "verified_per_cpu_second": Goal(GOAL_VERIFIED, figures["verified_per_cpu_second"], at_least=True),
        "verified_over_audit_core": Goal(GOAL_OVER_ANCHOR, figures["verified_over_audit_core"], at_least=True),
    }
    report("audit", rounds, {"load": rows, "checks": checks}, figures, goals, {**engine, **PACKAGES})


def _fill() -> None:
    """An estate, somebody who may change it, and a record."""
    from tests import factories as make

    segments = [make.segment() for _ in range(SEGMENTS)]
    for segment in segments:
        make.vms(VMS // SEGMENTS, segment=segment)
    make.user_with("platform-operator", username="writer")
    execute(Path(__file__).with_name("audit_fill.sql").read_text(), [EVENTS])
    execute("ANALYZE")


def _events(sizes: list[int]) -> Iterator[dict[str, Any]]:
    """All events, each as a document; the length of each one's sealed form is added to `sizes`."""
    from audit import rows
    from audit.canonical import EVENT_COLUMNS, event_bytes

    after = 0
    while page := rows.events_after(after, PAGE):
        for row in page:
            sizes.append(len(event_bytes(row)))
            event = dict(zip(EVENT_COLUMNS, row, strict=True))
            for name in ("before", "after", "detail"):
                event[name] = json.loads(event[name]) if event[name] else None
            yield event
        after = rows.event_id(page[-1])


def _verify(server: Postgres, anchor: AuditCore, events: int) -> list[dict[str, Any]]:
    """Both, whole, in the order A B B A. Raises RuntimeError when one does not find its record whole."""
    arms = {"slipway": lambda: _verify_here(server), "audit_core": anchor.check}
    found = []
    for number in range(CHECKS):
        for name in arms if number % 2 == 0 else reversed(arms):
            row = {"arm": name, **arms[name]()}
            if row["valid"] != events:
                raise RuntimeError(f"{name} found {row['valid']} of {events} events whole")
            found.append(row)
            print(row, file=sys.stderr)
    return found


def _verify_here(server: Postgres) -> dict[str, Any]:
    """`verify()` in this process; the processor time is this one's and the server's."""
    from audit.verify import verify

    cpu, began = time.process_time() + server.cpu_seconds(), time.perf_counter()
    result = verify()
    seconds = time.perf_counter() - began
    cpu = time.process_time() + server.cpu_seconds() - cpu
    return {"valid": result.sealed if result.ok else 0, "seconds": seconds, "cpu_seconds": cpu}


def _load_figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {"throughput_ratio": {}, "cpu_ratio": {}}
    for name in (audit_load.MAIN, *audit_load.ASIDE):
        for arm in audit_load.ARMS:
            of_arm = [row for row in rows if (row["transaction"], row["arm"]) == (name, arm)]
            figures[f"{name}_{arm}"] = {
                what: median([row[what] for row in of_arm]) for what in ("per_second", "p50_ms", "p99_ms", "cpu_ms")
            }
        figures["throughput_ratio"][name] = median(audit_load.ratios(rows, name, "per_second"))
        figures["cpu_ratio"][name] = median(audit_load.ratios(rows, name, "cpu_ms"))
    return figures


def _check_figures(checks: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates are medians; `per_second` is by the clock, `per_cpu_second` by the processor time of all that worked."""
    by_arm = {name: [row for row in checks if row["arm"] == name] for name in ("slipway", "audit_core")}
    rates = {
        (name, what): median([row["valid"] / row[what] for row in rows])
        for name, rows in by_arm.items()
        for what in ("seconds", "cpu_seconds")
    }
    pairs = zip(by_arm["slipway"], by_arm["audit_core"], strict=True)
    return {
        "events": checks[0]["valid"],
        "verified_per_second": round(rates["slipway", "seconds"]),
        "verified_per_cpu_second": round(rates["slipway", "cpu_seconds"]),
        "audit_core_per_second": round(rates["audit_core", "seconds"]),
        "audit_core_per_cpu_second": round(rates["audit_core", "cpu_seconds"]),
        "verified_over_audit_core": median([theirs["seconds"] / ours["seconds"] for ours, theirs in pairs]),
        "cpu_over_audit_core": round(rates["slipway", "cpu_seconds"] / rates["audit_core", "cpu_seconds"], 4),
    }
