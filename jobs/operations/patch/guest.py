"""Talking to the guest through its agent: a few fixed programs by argument list, and nothing it says is believed
blindly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypervisor.errors import AgentRefused, AgentUnavailable, OperationTimeout
from hypervisor.types import ExecResult
from jobs.errors import OperationFailed
from jobs.operations.patch import apt

if TYPE_CHECKING:
    from inventory.models import Host
    from jobs.engine.context import JobContext

_UNIT_FACT = re.compile(r"(ActiveState|SubState|Result|ExecMainStatus|LoadState)=([a-z0-9-]*)$")


@dataclass(frozen=True, slots=True)
class UnitState:
    """A transient unit as systemd shows it."""

    loaded: bool
    running: bool
    succeeded: bool
    exit_status: int


class Guest:
    """One guest, through the agent, from one job."""

    def __init__(self, context: JobContext, host: Host) -> None:
        self._context = context
        self._host = host

    def answers(self) -> bool:
        """Whether the agent answers now."""
        try:
            self._context.on(self._host).agent_ping(self._context.uuid)
        except (AgentUnavailable, AgentRefused, OperationTimeout):
            return False
        return True

    def run(self, argv: Sequence[str], *, seconds: int = 60) -> ExecResult:
        """Run a program. Raises AgentUnavailable, AgentRefused, OperationTimeout."""
        return self._context.on(self._host).agent_exec(self._context.uuid, argv, timeout_seconds=seconds)

    def said(self, argv: Sequence[str], *, seconds: int = 60) -> str:
        """Run a program that must succeed, and return what it said. Raises OperationFailed."""
        result = self.run(argv, seconds=seconds)
        if result.exit_code != 0:
            raise OperationFailed("guest_command_failed", f"In the guest, {argv_shown(argv)} failed: {tail(result)}")
        return result.stdout.decode("utf-8", "replace")

    def read(self, path: str, *, limit: int = 65_536) -> str | None:
        """A file's text, or None when it is not there."""
        try:
            content = self._context.on(self._host).agent_read_file(self._context.uuid, path, limit_bytes=limit)
        except AgentRefused:
            return None
        return content.decode("utf-8", "replace")

    def packages(self) -> dict[str, str]:
        """Installed packages and their versions."""
        return apt.parse_installed(self.said(apt.INSTALLED))

    def failed_units(self) -> set[str]:
        """Units that systemd counts as failed."""
        listing = self.said(("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"))
        return {line.split()[0] for line in listing.splitlines() if line.split()}

    def half_configured(self) -> str:
        """What dpkg finds half-done; "" when all is well."""
        return self.said(apt.AUDIT).strip()

    def free_mib(self, path: str) -> int:
        """Free space on the file system of `path`."""
        lines = self.said(("df", "-kP", path)).splitlines()
        try:
            return int(lines[-1].split()[3]) // 1024
        except (IndexError, ValueError) as error:
            raise OperationFailed("guest_answer_unreadable", "The guest's df answered nonsense.") from error

    def start_unit(self, unit: str, log: str, command: Sequence[str]) -> None:
        """Start a command as a transient unit, which outlives the agent, its upgrade, and this worker."""
        settings = (
            "-p",
            "RemainAfterExit=yes",
            "-p",
            f"StandardOutput=append:{log}",
            "-p",
            f"StandardError=append:{log}",
        )
        names = [pair for name in apt.ENVIRONMENT[1:] for pair in ("--setenv", name)]
        self.said(("systemd-run", f"--unit={unit}", "--no-block", *settings, *names, *command))

    def was_started(self, unit: str, log: str) -> bool:
        """Whether this unit was ever started: a worker may die after it announced the start and before it. The log
        tells of a unit that a restart of the guest made systemd forget.
        """
        return self.unit(unit).loaded or self.read(log, limit=1) is not None

    def unit(self, unit: str) -> UnitState:
        """How the unit stands."""
        properties = "LoadState,ActiveState,SubState,Result,ExecMainStatus"
        facts = {}
        for line in self.said(("systemctl", "show", f"--property={properties}", unit)).splitlines():
            found = _UNIT_FACT.match(line)
            if found:
                facts[found[1]] = found[2]
        status = facts.get("ExecMainStatus", "")
        exited = facts.get("SubState") == "exited" and facts.get("ActiveState") == "active"
        failed = facts.get("ActiveState") == "failed"
        return UnitState(
            loaded=facts.get("LoadState") == "loaded",
            running=not exited and not failed and facts.get("ActiveState") in ("active", "activating"),
            succeeded=exited and status == "0",
            exit_status=int(status) if status.isdigit() else -1,
        )

    def forget_unit(self, unit: str) -> None:
        """Remove the unit once its end is known."""
        self.run(("systemctl", "stop", unit))
        self.run(("systemctl", "reset-failed", unit))


def argv_shown(argv: Sequence[str]) -> str:
    """A command as shown to a person."""
    return " ".join(argv[:6]) + (" …" if len(argv) > 6 else "")


def tail(result: ExecResult, limit: int = 600) -> str:
    """The end of what a program said, for a person."""
    text = (result.stderr or result.stdout).decode("utf-8", "replace").strip()
    return text[-limit:] or f"exit status {result.exit_code}"
