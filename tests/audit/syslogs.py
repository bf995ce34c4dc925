"""A syslog on this machine, for tests: a real socket, and a file of what came, each line behind a daemon's prefix."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from audit.syslog import Destination

PREFIX = "2026-01-31T08:00:00.123456+00:00 vault-7 "
DEADLINE = 30.0


class Syslog:
    """Listens at `to`; can be started, ended and started again at the same address."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.file = directory / "messages"
        self.file.touch()
        self.to = Destination("unix", str(directory / "log")) if kind == "unix" else self._free(kind)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @staticmethod
    def _free(kind: str) -> Destination:
        with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as asked:
            asked.bind(("127.0.0.1", 0))
            return Destination(kind, "127.0.0.1", asked.getsockname()[1])

    def start(self) -> None:
        """Listen. Returns when it does."""
        is_unix, is_stream = self.to.kind == "unix", self.to.kind == "tcp"
        kind = socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM
        self._socket = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET, kind)
        if is_stream:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(self.to.place if is_unix else (self.to.place, self.to.port))
        if is_stream:
            self._socket.listen()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(self._socket, is_stream), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Be gone."""
        self._stop.set()
        if self._thread is not None and self._socket is not None:
            self._thread.join()
            self._socket.close()
            self._thread = None
        if self.to.kind == "unix":
            Path(self.to.place).unlink(missing_ok=True)

    def lines(self) -> list[str]:
        """What came."""
        return self.file.read_text().splitlines()

    def _serve(self, listening: socket.socket, is_stream: bool) -> None:
        arrivals = select.poll()  # rather than select(), which knows no file beyond the 1024th
        arrivals.register(listening, select.POLLIN)
        while not self._stop.is_set():
            if not arrivals.poll(50):
                continue
            if is_stream:
                with listening.accept()[0] as stream, stream.makefile("rb") as read:
                    self._keep(read.read())
            else:
                self._keep(listening.recv(65536) + b"\n")

    def _keep(self, content: bytes) -> None:
        with self.file.open("a") as handle:
            for line in content.decode().splitlines():
                handle.write(PREFIX + line.partition(">")[2] + "\n")


def until(what: str, fact: Callable[[], bool]) -> None:
    """Until something is true. Fails when it never becomes so."""
    end = monotonic() + DEADLINE
    pause = threading.Event()
    while not fact():
        assert monotonic() < end, f"waited in vain for: {what}"
        pause.wait(0.02)
