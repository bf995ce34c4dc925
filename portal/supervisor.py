"""Several processes in the foreground: started in order, restarted when they die, ended together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

log = logging.getLogger("slipway")

#: How long a process may take to end by itself, in seconds, before it is killed.
GRACE = 10.0
#: Pause before a process that died is started again, in seconds: doubled at each death up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0


@dataclass
class Process:
    """One program to keep running."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    popen: subprocess.Popen[bytes] | None = None
    pause: float = FIRST_PAUSE
    started: float = 0.0

    def start(self) -> None:
        """Start it, in a process group of its own, so that a Ctrl-C reaches the supervisor first."""
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            self.argv, env={**os.environ, **self.environment}, start_new_session=True, stdin=subprocess.DEVNULL
        )

    def ended(self) -> bool:
        """Whether it has died."""
        return self.popen is not None and self.popen.poll() is not None


class Supervisor:
    """Keeps processes running until told to stop; then ends them in the opposite order."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes
        self._stop = threading.Event()

    def stop(self, *_: object) -> None:
        """Ask `run` to end."""
        self._stop.set()

    def run(self) -> None:
        """Until stopped by SIGINT or SIGTERM."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self.stop)
        try:
            for process in self._processes:
                process.start()
            while not self._stop.wait(0.5):
                for process in self._processes:
                    if process.ended():
                        self._again(process)
        finally:
            self._end()

    def _again(self, process: Process) -> None:
        code = process.popen.returncode if process.popen else None
        if time.monotonic() - process.started > LONGEST_PAUSE * 2:
            process.pause = FIRST_PAUSE
        log.error("%s ended with status %s; starting it again in %.1f s", process.name, code, process.pause)
        self._stop.wait(process.pause)
        process.pause = min(process.pause * 2, LONGEST_PAUSE)
        if not self._stop.is_set():
            process.start()

    def _end(self) -> None:
        running = [process.popen for process in reversed(self._processes) if process.popen and not process.ended()]
        for popen in running:
            popen.terminate()
            try:
                popen.wait(GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(popen.pid, signal.SIGKILL)
                popen.wait()
