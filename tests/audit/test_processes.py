"""Real processes: several writers, sealers that are killed and started again. Nothing is lost, doubled or forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.db import connection

from audit.models import AuditEvent, AuditSeal
from audit.verify import verify
from tests.audit.helpers import write

pytestmark = pytest.mark.django_db(transaction=True)

THREADS, EVENTS = 4, 100
DEADLINE = 60.0


class Processes:
    """Children that work on the test's database, with the test's data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "SLIPWAY_DATABASE_URL": _database_url(),
            "SLIPWAY_DATA_DIR": str(data_dir),
        }
        self.all: list[subprocess.Popen[str]] = []

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start Python with these arguments; what it logs is kept in the data directory."""
        log = (self._data_dir / f"{len(self.all)}.log").open("w")
        with log:
            child = subprocess.Popen(
                [sys.executable, *command],
                cwd=settings.BASE_DIR,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.all.append(child)
        return child

    def sealer(self) -> subprocess.Popen[str]:
        """A sealer."""
        return self.start("manage.py", "sealer")

    def wait_for(self, what: str, fact: Callable[[], bool]) -> None:
        """Until something is true; what the children logged is shown when it never becomes so."""
        end = time.monotonic() + DEADLINE
        while not fact():
            if time.monotonic() > end:
                logs = "\n".join(f"{child.args}: {child.poll()}\n{self.log(child)}" for child in self.all)
                pytest.fail(f"waited in vain for: {what}\n{logs}")
            time.sleep(0.05)

    def log(self, child: subprocess.Popen[str]) -> str:
        """What a child logged up to now."""
        return (self._data_dir / f"{self.all.index(child)}.log").read_text()


def _database_url() -> str:
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["SLIPWAY_DATABASE_URL"])._replace(path=f"/{name}"))


@pytest.fixture
def processes(audit_files: Path) -> Iterator[Processes]:
    processes = Processes(audit_files)
    yield processes
    for child in processes.all:
        if child.poll() is None:
            child.kill()
        child.communicate()


def _end(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGTERM)
    assert child.wait(DEADLINE) == 0


def _parts(processes: Processes, *sealers: subprocess.Popen[str]) -> list[str]:
    logs = [processes.log(sealer) for sealer in sealers]
    return sorted("sealing" if "Sealing" in log else "waiting" if "Another sealer" in log else "" for log in logs)


def test_nothing_is_lost_when_sealers_are_killed_while_many_write(processes: Processes) -> None:
    first = processes.sealer()
    processes.wait_for("the first at work", lambda: "Sealing" in processes.log(first))
    writers = [processes.start("-m", "tests.audit.writer", str(THREADS), str(EVENTS)) for _ in range(2)]
    processes.wait_for("the first seals", lambda: AuditSeal.objects.count() >= 50)
    first.kill()
    first.wait()
    sealed_by_first = AuditSeal.objects.count()
    second, third = processes.sealer(), processes.sealer()
    committed = sum(int(writer.communicate(timeout=DEADLINE)[0]) for writer in writers)
    assert [writer.returncode for writer in writers] == [0, 0]
    processes.wait_for("all seals", lambda: AuditSeal.objects.count() == committed)
    processes.wait_for("one sealer in each part", lambda: _parts(processes, second, third) == ["sealing", "waiting"])
    for child in (second, third):
        _end(child)

    assert committed == AuditEvent.objects.count()
    assert 50 <= sealed_by_first <= committed
    report = verify()
    assert report.ok, report.first_break
    assert (report.sealed, report.unsealed, report.head_sequence) == (committed, 0, committed)
    assert len(set(AuditSeal.objects.values_list("event_id", flat=True))) == committed


def test_a_sealer_outlives_the_loss_of_its_database_session(processes: Processes) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no session to lose.")
    sealer = processes.sealer()
    processes.wait_for("the sealer at work", lambda: "Sealing" in processes.log(sealer))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert cursor.fetchall() == [(True,)]
    write(3)
    processes.wait_for("seals", lambda: AuditSeal.objects.count() == 3)
    assert "The database failed the sealer" in processes.log(sealer)
    _end(sealer)
    assert verify().ok


def test_a_second_sealer_waits_and_takes_over(processes: Processes) -> None:
    first = processes.sealer()
    processes.wait_for("the first at work", lambda: "Sealing" in processes.log(first))
    second = processes.sealer()
    processes.wait_for("the second waiting", lambda: "Another sealer is at work" in processes.log(second))
    once = processes.start("manage.py", "sealer", "--once")
    assert once.wait(DEADLINE) == 1
    assert "Another sealer is at work" in processes.log(once)
    _end(first)
    processes.wait_for("the second at work", lambda: "Sealing" in processes.log(second))
    _end(second)
    assert "Sealing" not in processes.log(first).partition("Sealing")[2]
