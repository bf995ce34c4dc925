"""Finding the lab's own processes, and ending them; never one that is not proved to be ours.

Proof is membership of the lab's network namespace, or a command line that names the lab's own
directory. The signal goes through a pidfd taken before the proof, so a number that was given to
another process in between hits nobody.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab.shell import wait_until

NETNS = Path("/run/netns")
END_SECONDS = 30


def all_pids() -> list[int]:
    """The numbers of all processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def command_line(pid: int) -> list[str]:
    """The words of a process's command line; none for one that is gone, a zombie or the kernel's."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [word.decode(errors="replace") for word in raw.split(b"\0")[:-1]]


def status(pid: int) -> str:
    """The state letter of a process (`R`, `S`, `T` ...), empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal (proc(5), SigCgt)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) & 1 << (number - 1))


def in_namespace(pid: int, netns: str) -> bool:
    """Whether the process is in the named network namespace."""
    try:
        theirs, ours = os.stat(f"/proc/{pid}/ns/net"), os.stat(NETNS / netns)
    except OSError:
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def members(netns: str) -> list[int]:
    """The processes in a named network namespace; zombies are in none."""
    return [pid for pid in all_pids() if in_namespace(pid, netns)]


def send(pid: int, number: signal.Signals, proof: Callable[[int], bool]) -> bool:
    """Send a signal to `pid` if `proof(pid)` holds; returns whether it was sent."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not proof(pid):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
            return True
        return False
    finally:
        os.close(handle)


def end(find: Callable[[], list[int]], proof: Callable[[int], bool], what: str) -> None:
    """Kill what `find` finds, until it finds nothing.

    Raises LabError if something is still there after 30 s (a process in an uninterruptible call).
    """

    def gone() -> bool:
        left = find()
        for pid in left:
            send(pid, signal.SIGKILL, proof)
        return not left

    wait_until(gone, seconds=END_SECONDS, what=f"the end of {what}", every=0.05)
