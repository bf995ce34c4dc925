"""The VM list, page and API, for a restricted user, at growing sizes: time and SQL statements per request."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import Any

from bench.report import Goal, median, percentile, report

SIZES = (100, 1_000, 10_000)
REQUESTS = 60


def main(requests: int = REQUESTS) -> None:
    """Fill an embedded database step by step, and ask for the list as somebody who sees a tenth of it."""
    directory = tempfile.mkdtemp(prefix="slipway-bench-")
    os.environ.update(SLIPWAY_DATA_DIR=directory, SLIPWAY_BROKER_URL="memory://", SLIPWAY_HOST_SCHEMES="sim")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    try:
        import django

        django.setup()
        _measure(requests)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _measure(requests: int) -> None:
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from tests import factories as make

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    segments = [make.segment() for _ in range(10)]
    hosts = [make.host() for _ in range(10)]
    user = make.user_with("operator", segments[0])
    client = Client(headers={"host": "localhost"})
    client.force_login(user, backend="access.backends.GateBackend")
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        from inventory.models import VM

        missing = size - VM.objects.count()
        for number, segment in enumerate(segments):
            make.vms(missing // 10, segment=segment, host=hosts[number])
        for face, address in (("page", "/vms/"), ("api", "/api/v1/vms/")):
            rows.append({"size": size, "face": face, **_ask(client, connection, address, requests)})
    figures = {f"{row['face']}_{row['size']}": {k: row[k] for k in ("p50_ms", "p99_ms", "statements")} for row in rows}
    grown = {face: _statements(rows, face, SIZES[-1]) - _statements(rows, face, SIZES[0]) for face in ("page", "api")}
    goals = {f"{face}_statements_growth": Goal(0, growth) for face, growth in grown.items()}
    report("vmlist", requests, rows, figures, goals, {"database": connection.vendor})


def _ask(client: Any, connection: Any, address: str, requests: int) -> dict[str, Any]:
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        response = client.get(address)
    statements = len(captured)  # now: later requests empty the log
    if response.status_code != 200:
        raise RuntimeError(f"{address} answered {response.status_code}")
    times = []
    for _ in range(requests):
        began = time.perf_counter()
        client.get(address)
        times.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": median(times), "p99_ms": percentile(times, 99), "statements": statements, "times_ms": times}


def _statements(rows: list[dict[str, Any]], face: str, size: int) -> int:
    return int(next(row["statements"] for row in rows if row["face"] == face and row["size"] == size))
