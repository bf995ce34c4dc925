"""Watching whether code reaches out of its process: connections, look-ups, programs, files written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVENTS = {
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.system", "os.exec",
    "os.posix_spawn", "os.fork", "os.spawn", "pty.spawn", "ctypes.dlopen",
}  # fmt: skip
_watching: list[list[tuple[str, str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in _EVENTS:
        _watching[-1].append((event, str(arguments)))
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _watching[-1].append((event, str(arguments[0])))


sys.addaudithook(_hook)


@contextmanager
def reaching_out() -> Iterator[list[tuple[str, str]]]:
    """Collect (audit event, its arguments) of everything that reaches out in the block; see PEP 578."""
    seen: list[tuple[str, str]] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)
