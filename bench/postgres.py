"""A PostgreSQL of a benchmark's own: as installed, so that each commit waits for the disk; on loopback, thrown away."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server: the address of its empty database, and its first process."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time that all of its processes have taken so far, those that have ended included."""
        live = (stat for stat in map(_stat, Path("/proc").glob("[0-9]*/stat")) if stat and int(stat[1]) == self.pid)
        own = _stat(Path(f"/proc/{self.pid}/stat"))
        # utime and stime; of the first process also cutime and cstime, which hold what its ended children took.
        ticks = sum(int(stat[11]) + int(stat[12]) for stat in live) + sum(map(int, own[11:15]))
        return ticks / _TICKS


@contextmanager
def postgres(**settings: str) -> Iterator[Postgres]:
    """Start one with its default settings, but for those given, on a disk (`/tmp` may be memory).

    Run as root, the server runs as the user postgres, else as oneself. Raises FileNotFoundError when it is not
    installed, and CalledProcessError when it does not start.
    """
    programs = _programs()
    directory = Path(tempfile.mkdtemp(prefix="slipway-bench-", dir="/var/tmp"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    data = directory / "data"
    port = _free_port()
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", **settings}
    words = " ".join([f"-p {port}", *(f"-c {name}={value}" for name, value in options.items())])
    try:
        _run(programs / "initdb", "-D", data, "-U", "slipway", "--auth", "trust", "--locale", "C.UTF-8")
        _run(programs / "pg_ctl", "-D", data, "-w", "-l", directory / "log", "-o", words, "start")
        pid = int((data / "postmaster.pid").read_text().split()[0])
        yield Postgres(f"postgres://slipway:x@127.0.0.1:{port}/postgres", pid)
    finally:
        if (data / "postmaster.pid").exists():
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(directory)


def _programs() -> Path:
    """Where the newest installed version is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not found:
        raise FileNotFoundError("PostgreSQL is not installed.")
    return found[-1]


def _run(program: Path, *argv: object) -> None:
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run([*as_postgres, str(program), *map(str, argv)], check=True, stdout=subprocess.DEVNULL, cwd="/")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(path: Path) -> list[str]:
    """The fields of a process's `stat` behind its name, so that field 4 of proc(5) is the second here."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
