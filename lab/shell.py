"""Running commands and waiting for facts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

#: What the lab's own commands see: their output is read, so it must not be translated.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    # apt may reach its sources only so.
    **{key: os.environ[key] for key in ("http_proxy", "https_proxy", "no_proxy") if key in os.environ},
}
#: The interpreter of the machine, not of a virtual environment that may go away while the lab stays.
PYTHON = "/usr/bin/python3"
ROOT = Path(__file__).resolve().parent.parent
#: What goes into guests: scripts, unit files, a C program.
PAYLOAD = ROOT / "lab" / "payload"


class LabError(Exception):
    """The lab cannot do what was asked; the message says what failed and what was seen."""


def log(message: str) -> None:
    """Tell the person at the terminal; stdout is kept for JSON."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    timeout: float = 120,
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its standard output. `timeout` is in seconds.

    Raises LabError when it fails or does not end in time; the message has its last error lines.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=cwd,
            env={**ENVIRONMENT, **(extra or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)}` did not end within {timeout:g} s") from error
    except FileNotFoundError as error:
        raise LabError(f"`{words[0]}` is not installed") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"`{' '.join(words)}` ended with status {done.returncode}: {said}")
    return done.stdout


def succeeds(*command: str | Path, timeout: float = 120) -> bool:
    """Whether the command ends with status 0 within `timeout` seconds."""
    try:
        run(*command, timeout=timeout)
    except LabError:
        return False
    return True


def wait_until(
    fact: Callable[[], bool],
    *,
    seconds: float,
    what: str,
    every: float = 0.1,
    detail: Callable[[], str] | None = None,
) -> None:
    """Wait until `fact()` holds, asking every `every` seconds.

    Raises LabError after `seconds`; the message names `what`, and ends with `detail()`.
    """
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            seen = f"\n{detail()}" if detail else ""
            raise LabError(f"{what}: not seen within {seconds:g} s{seen}")
        time.sleep(every)
