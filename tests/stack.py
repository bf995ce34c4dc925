"""Slipway's own processes for tests that need them: a private Redis, workers, scheduler, watcher, sealer, on the
test's database.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.db import connection

from portal import processes
from portal.supervisor import Process

ROOT = Path(__file__).parents[1]


def until(ask: Callable[[], Any], *, seconds: float = 60.0, what: str = "it") -> Any:
    """Ask until the answer is true, and return it. The deadline is generous: it is there for what never comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


def free_port() -> int:
    """A port of loopback at which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_url() -> str:
    """The test database, for other processes."""
    facts = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{facts['NAME']}"
    return f"postgres://{facts['USER']}:{facts['PASSWORD']}@{facts['HOST']}:{facts['PORT']}/{facts['NAME']}"


class Stack:
    """Starts processes with the test's environment; ends them all, also when the test failed."""

    def __init__(self, directory: Path, environment: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.broker = f"redis+socket://{self.socket}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "SLIPWAY_DATA_DIR": str(settings.DATA_DIR),
            "SLIPWAY_DATABASE_URL": database_url(),
            "SLIPWAY_BROKER_URL": self.broker,
            "PYTHONPATH": str(ROOT),
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            self.kill(name)

    def start(self, process: Process) -> None:
        """Start a process; its output goes to `<name>.log` in the stack's directory."""
        log = (self.directory / f"{process.name}.log").open("ab")
        self._running[process.name] = subprocess.Popen(
            process.argv, env={**self._environment, **process.environment}, cwd=ROOT, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def start_redis(self) -> None:
        """A Redis on a socket of its own."""
        argv = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self.start(Process("redis", [*argv, "--dir", str(self.directory)]))
        until(self.socket.exists, what="Redis")

    def start_worker(self, name: str = "worker") -> None:
        """A Celery worker; returns when it takes work."""
        self.start(processes.worker(name, threads=4))
        until(lambda: self._answers(name), what=f"the worker {name}")

    def ensure_workers(self, *names: str) -> None:
        """Start these workers unless they run; one that was stopped goes on."""
        missing = []
        for name in names:
            popen = self._running.get(name)
            if popen is None or popen.poll() is not None:
                self.start(processes.worker(name, threads=4))
                missing.append(name)
            else:
                os.killpg(popen.pid, signal.SIGCONT)
        for name in missing:
            until(lambda name=name: self._answers(name), what=f"the worker {name}")  # type: ignore[misc]

    def pid(self, name: str) -> int | None:
        """The process's number; None for one that was not started, or was ended here."""
        popen = self._running.get(name)
        return popen.pid if popen else None

    def start_all(self) -> None:
        """Redis, one worker, scheduler, watcher and sealer."""
        self.start_redis()
        for process in (processes.scheduler(), processes.watcher(), processes.sealer()):
            self.start(process)
        self.start_worker()

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Send a signal to a process that this stack started, and (if it is to end it) wait for its end."""
        popen = self._running[name]
        if popen.poll() is None:
            os.killpg(popen.pid, sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            popen.wait()
            del self._running[name]

    def log(self, name: str) -> str:
        """What a process said."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def _answers(self, name: str) -> bool:
        from celery import Celery

        app = Celery(broker=self.broker)
        try:
            return any(node.startswith(f"{name}@") for node in (app.control.inspect(timeout=1).ping() or {}))
        finally:
            app.close()
