"""The QEMU guest agent. Whatever it answers was written by the guest: types, sizes and text are checked."""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

import libvirt
import libvirt_qemu

from hypervisor.errors import AgentRefused, AgentUnavailable, HypervisorError, OperationTimeout
from hypervisor.libvirt_driver.calls import check_wanted
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import ErrorTable, translated
from hypervisor.types import ExecResult

#: One agent command; the agent answers at once, it does not wait for what it started.
COMMAND_SECONDS = 10
#: Waits between two looks at a program that runs: short first, since most are.
POLL_FIRST_SECONDS = 0.02
POLL_LONGEST_SECONDS = 0.25
#: Piece of a file in one command. Larger commands take an emulated guest long, and from about 300 KiB on the channel
#: stands still for good (seen with QEMU 7.2).
PIECE_BYTES = 48 * 1024

_NANOSECONDS = 10**9
_NONSENSE = "The guest agent answered nonsense."
_ERRORS: ErrorTable = MappingProxyType(
    {
        libvirt.VIR_ERR_INTERNAL_ERROR: AgentRefused,  # an error answer of the agent
        libvirt.VIR_ERR_OPERATION_FAILED: AgentRefused,
        libvirt.VIR_ERR_OPERATION_INVALID: AgentUnavailable,  # the guest is off
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: AgentUnavailable,  # it has no agent channel
        libvirt.VIR_ERR_OPERATION_TIMEOUT: AgentUnavailable,
        libvirt.VIR_ERR_SYSTEM_ERROR: AgentUnavailable,  # an answer that is longer than libvirt takes
        libvirt.VIR_ERR_NO_SUPPORT: AgentUnavailable,
    }
)


class Agent(LibvirtConnection):
    """The protocol's `Agent`."""

    @remote()
    def agent_ping(self, uuid: str, *, timeout_seconds: int = 5) -> None:
        """Raises AgentUnavailable unless the agent answers."""
        self._command(self.domain(uuid), "guest-ping", {}, seconds=timeout_seconds)

    @remote()
    def agent_clock(self, uuid: str) -> float:
        """The guest's clock, in seconds since 1970. Raises AgentUnavailable, AgentRefused."""
        answer = self._command(self.domain(uuid), "guest-get-time", {})
        return _number({"time": answer}, "time") / _NANOSECONDS

    @remote()
    def agent_set_clock(self, uuid: str, at: float) -> None:
        """Set the guest's clock. Raises AgentUnavailable, AgentRefused."""
        self._command(self.domain(uuid), "guest-set-time", {"time": round(at * _NANOSECONDS)})

    @remote(seconds=None)
    def agent_exec(self, uuid: str, argv: Sequence[str], *, timeout_seconds: int = 60) -> ExecResult:
        """Run a program (an argument list, never a shell string) and wait.

        A program killed by a signal has the exit code 128 + signal, as a shell would say. Raises AgentUnavailable,
        AgentRefused, OperationTimeout; after a timeout the program may still run in the guest.

        The program must not write more than some 3 MiB: libvirt gives an agent up whose answer is over 10 MiB,
        and the agent is out of reach until it, or the guest, is restarted. What may write more writes to a file.
        """
        if isinstance(argv, str) or not argv or any("\0" in word for word in argv):
            raise AgentRefused("A program is started by a list of its name and arguments, without NUL characters.")
        deadline = time.monotonic() + timeout_seconds
        domain = self.domain(uuid)
        request = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        pid = _number(_object(self._command(domain, "guest-exec", request, deadline=deadline)), "pid")
        wait = POLL_FIRST_SECONDS
        while True:
            status = _object(self._command(domain, "guest-exec-status", {"pid": pid}, deadline=deadline))
            if status.get("exited") is True:
                return _exec_result(status)
            if time.monotonic() + wait >= deadline:
                raise OperationTimeout(f"The program did not end within {timeout_seconds} seconds.")
            time.sleep(wait)
            check_wanted()
            wait = min(2 * wait, POLL_LONGEST_SECONDS)

    @remote(seconds=None)
    def agent_read_file(self, uuid: str, path: str, *, limit_bytes: int = 1_000_000) -> bytes:
        """Read at most `limit_bytes` of a guest's file. Raises AgentUnavailable, AgentRefused (no such file)."""
        domain = self.domain(uuid)
        content = bytearray()
        with self._open_file(domain, path, "rb") as file:
            while len(content) < limit_bytes:
                check_wanted()
                wanted = {"handle": file, "count": min(PIECE_BYTES, limit_bytes - len(content))}
                answer = _object(self._command(domain, "guest-file-read", wanted))
                piece = _bytes(answer, "buf-b64")
                content += piece
                if answer.get("eof") is True or not piece:
                    break
        return bytes(content[:limit_bytes])

    @remote(seconds=None)
    def agent_write_file(self, uuid: str, path: str, content: bytes) -> None:
        """Write a guest's file, whole. Raises AgentUnavailable, AgentRefused."""
        domain = self.domain(uuid)
        with self._open_file(domain, path, "wb") as file:
            left = memoryview(content)
            while left:
                check_wanted()
                piece = base64.b64encode(left[:PIECE_BYTES]).decode("ascii")
                answer = self._command(domain, "guest-file-write", {"handle": file, "buf-b64": piece})
                written = _number(_object(answer), "count")
                if not 0 < written <= PIECE_BYTES:
                    raise AgentRefused(_NONSENSE)
                left = left[written:]  # the agent may take less than it was given
            self._command(domain, "guest-file-flush", {"handle": file})

    @contextmanager
    def _open_file(self, domain: libvirt.virDomain, path: str, mode: str) -> Iterator[int]:
        answer = self._command(domain, "guest-file-open", {"path": path, "mode": mode})
        file = _number({"handle": answer}, "handle")
        try:
            yield file
        except HypervisorError:
            with suppress(HypervisorError):  # the first failure is the one to tell
                self._command(domain, "guest-file-close", {"handle": file})
            raise
        self._command(domain, "guest-file-close", {"handle": file})

    def _command(
        self,
        domain: libvirt.virDomain,
        name: str,
        arguments: dict[str, Any],
        *,
        seconds: int = COMMAND_SECONDS,
        deadline: float | None = None,
    ) -> Any:
        """One command to the agent; its `return` value, of whatever type the guest chose."""
        if deadline is not None:
            seconds = max(1, min(seconds, math.ceil(deadline - time.monotonic())))
        request = json.dumps({"execute": name, "arguments": arguments} if arguments else {"execute": name})
        with translated(self.is_alive, table=_ERRORS):
            answer = libvirt_qemu.qemuAgentCommand(domain, request, seconds, 0)
        try:
            return _object(json.loads(answer)).get("return")
        except (ValueError, RecursionError) as error:
            raise AgentRefused(_NONSENSE) from error


def _exec_result(status: dict[str, Any]) -> ExecResult:
    code = 128 + _number(status, "signal") if "signal" in status else _number(status, "exitcode")
    return ExecResult(
        exit_code=code,
        stdout=_bytes(status, "out-data"),
        stderr=_bytes(status, "err-data"),
        truncated=status.get("out-truncated") is True or status.get("err-truncated") is True,
    )


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AgentRefused(_NONSENSE)
    return value


def _number(value: dict[str, Any], key: str) -> int:
    number = value.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or abs(number) >= 2**63:
        raise AgentRefused(_NONSENSE)
    return number


def _bytes(value: dict[str, Any], key: str) -> bytes:
    text = value.get(key, "")
    if not isinstance(text, str):
        raise AgentRefused(_NONSENSE)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AgentRefused(_NONSENSE) from error
