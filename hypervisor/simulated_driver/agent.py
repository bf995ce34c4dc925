"""The simulated guests' agent."""

from __future__ import annotations

import fnmatch
import random
import shlex
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hypervisor.errors import AgentRefused, AgentUnavailable, OperationTimeout
from hypervisor.simulated_driver import events, faults, guests, machine, packages, powering, programs, schedule, shell
from hypervisor.simulated_driver.definition import Config
from hypervisor.simulated_driver.faults import Fault
from hypervisor.simulated_driver.machine import Machine, Outcome
from hypervisor.simulated_driver.session import Session
from hypervisor.simulated_driver.store import speed
from hypervisor.types import EventKind, ExecResult, PowerState

#: A file command that is not answered is given up after this.
FILE_SECONDS = 10
CLOCK_SECONDS = 10
GARBAGE_BYTES = 4096
_REBOOT_SECONDS = 1.0

#: Their programs are registered by being imported.
_MODULES = (packages, shell)


class Agent(Session):
    """The protocol's part about the guest agent."""

    def agent_ping(self, uuid: str, *, timeout_seconds: int = 5) -> None:
        """Raises AgentUnavailable unless the agent answers."""
        self._await_agent(uuid, timeout_seconds)

    def agent_clock(self, uuid: str) -> float:
        """The guest's clock. Raises AgentUnavailable."""
        self._await_agent(uuid, CLOCK_SECONDS)
        with self._inside(uuid) as (_tx, _guest, inside):
            return time.time() - inside.clock_behind

    def agent_set_clock(self, uuid: str, at: float) -> None:
        """Set the guest's clock. Raises AgentUnavailable."""
        self._await_agent(uuid, CLOCK_SECONDS)
        with self._inside(uuid) as (_tx, _guest, inside):
            inside.clock_behind = time.time() - at

    def agent_exec(self, uuid: str, argv: Sequence[str], *, timeout_seconds: int = 60) -> ExecResult:
        """Run a program of the simulated Debian and wait. Raises AgentUnavailable, AgentRefused, OperationTimeout."""
        if isinstance(argv, str) or not argv or any("\0" in word for word in argv):
            raise AgentRefused("A program is started by a list of its name and arguments, without NUL characters.")
        self._await_agent(uuid, timeout_seconds)
        with self._inside(uuid) as (tx, guest, inside):
            outcome = _scripted(tx, uuid, argv) or _run(inside, argv)
            garbage = faults.take(tx, Fault.AGENT_GARBAGE, self.host, uuid)
        self.pause(min(outcome.seconds, timeout_seconds) / speed())
        if outcome.seconds > timeout_seconds:
            raise OperationTimeout(f"The program did not end within {timeout_seconds} seconds.")
        with self.change() as tx:
            now = guests.find(tx, self.host, uuid)
            if now["boot"] != guest["boot"]:
                raise AgentUnavailable(f"{guest['name']} went down while the program ran.")
            aftermath(tx, now, outcome)
        if outcome.restarts_agent:
            raise AgentUnavailable(f"The agent of {guest['name']} went away while the program ran.")
        if garbage:
            return ExecResult(0, _garbage(), _garbage(), truncated=True)
        return ExecResult(outcome.exit_code, outcome.stdout, outcome.stderr)

    def agent_read_file(self, uuid: str, path: str, *, limit_bytes: int = 1_000_000) -> bytes:
        """Read at most `limit_bytes` of a file. Raises AgentUnavailable, AgentRefused (no such file)."""
        self._await_agent(uuid, FILE_SECONDS)
        with self._inside(uuid) as (tx, guest, inside):
            content = inside.read(path)
            if faults.take(tx, Fault.AGENT_GARBAGE, self.host, uuid):
                content = _garbage()
        if content is None:
            raise AgentRefused(f"{guest['name']} has no file {path}.")
        return content[:limit_bytes]

    def agent_write_file(self, uuid: str, path: str, content: bytes) -> None:
        """Write a file, whole. Raises AgentUnavailable, AgentRefused (not an absolute path)."""
        self._await_agent(uuid, FILE_SECONDS)
        if not path.startswith("/") or path.endswith("/"):
            raise AgentRefused(f"{path} cannot be written.")
        with self._inside(uuid) as (_tx, _guest, inside):
            inside.write(path, content)

    def _await_agent(self, uuid: str, timeout_seconds: float) -> None:
        """Return when the agent answers; it does at once, or not at all. Raises AgentUnavailable, GuestNotFound."""
        with self.look() as db:
            guest = guests.find(db, self.host, uuid)
            silent = faults.lasting(db, Fault.AGENT_SILENT, self.host, uuid) is not None
        _must_have_agent(guest)
        if silent or guest["state"] != PowerState.RUNNING:
            self.pause(timeout_seconds / speed())
            raise AgentUnavailable(f"The agent of {guest['name']} does not answer.")

    @contextmanager
    def _inside(self, uuid: str) -> Iterator[tuple[sqlite3.Connection, sqlite3.Row, Machine]]:
        """The inside of a running guest, to look at and to change."""
        with self.change() as tx:
            guest = guests.find(tx, self.host, uuid)
            _must_have_agent(guest)
            inside = machine.load(tx, guest)
            programs.finish_units(inside, time.time())
            yield tx, guest, inside
            machine.save(tx, guest, inside)


def _must_have_agent(guest: sqlite3.Row) -> None:
    if not guests.is_active(guest):
        raise AgentUnavailable(f"{guest['name']} is not running.")
    if not Config.loads(guest["config"]).agent_channel:
        raise AgentUnavailable(f"{guest['name']} has no channel for a guest agent.")
    if not guest["agent_up"]:
        raise AgentUnavailable(f"The agent of {guest['name']} is not connected.")


def _run(inside: Machine, argv: Sequence[str]) -> Outcome:
    """Run a program the agent's way: what is not there is refused."""
    if programs.find(argv[0]) is None:
        raise AgentRefused(f"Guest agent command failed: failed to execute child process {argv[0]!r}.")
    return programs.run(inside, argv, time.time())


def _scripted(tx: sqlite3.Connection, uuid: str, argv: Sequence[str]) -> Outcome | None:
    """The reply that a test has written for such a command line; the newest counts."""
    line = shlex.join(argv)
    for row in tx.execute("SELECT * FROM replies WHERE uuid IN ('', ?) ORDER BY id DESC", (uuid,)):
        if fnmatch.fnmatchcase(line, row["pattern"]):
            return Outcome(row["exit_code"], row["stdout"], row["stderr"], row["seconds"])
    return None


def aftermath(tx: sqlite3.Connection, guest: sqlite3.Row, outcome: Outcome) -> None:
    """What a program does to the guest as a whole."""
    now = time.time()
    if outcome.reboots:
        schedule.put_in(tx, now, _REBOOT_SECONDS, "rebooted", guest)
    elif outcome.powers_off:
        schedule.put_in(tx, now, powering.SHUTDOWN_SECONDS, "shutdown", guest)
    elif outcome.restarts_agent:
        tx.execute("UPDATE guests SET agent_up = 0 WHERE host = ? AND uuid = ?", (guest["host"], guest["uuid"]))
        events.emit(tx, guest, EventKind.AGENT_DISCONNECTED, at=now)
        schedule.put_in(tx, now, guests.AGENT_RESTART_SECONDS, "agent_up", guest)


def _garbage() -> bytes:
    """Bytes without sense, always the same."""
    return random.Random(7).randbytes(GARBAGE_BYTES)  # noqa: S311 - not for secrets
