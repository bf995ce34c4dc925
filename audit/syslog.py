"""Anchors in a syslog: each line of the anchor file goes to one as well, so that another machine holds it at once.

What the file says is sent from a thread beside the sealing, which knows nothing of it: a syslog that is away, slow or
stuck holds nothing up. How far the file was sent is kept in a file beside it. What is not sent waits there, in order.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from logging.handlers import SYSLOG_UDP_PORT, SysLogHandler
from pathlib import Path
from socket import socket as Socket
from typing import NamedTuple
from urllib.parse import urlsplit

from audit.fields import encode

log = logging.getLogger(__name__)

#: What syslog daemons call the tag, or the name of the program: by it an anchor is found among other lines.
TAG = "slipway-anchor"
LOOK_SECONDS = 0.5
RETRY_SECONDS = 10.0
#: How long the last lines may take at the sealer's end.
FAREWELL_SECONDS = 3.0
#: Lines sent at once; few enough for the buffer of a receiver of datagrams.
BATCH = 100
#: How long one that takes a stream may need to read it to its end, and a machine to say that it refuses datagrams.
_STREAM_SECONDS, _REFUSAL_SECONDS = 10.0, 0.5
_TAIL_BYTES = 64 * 1024
_LONGEST_SOCKET_PATH = 107  # Linux


class Destination(NamedTuple):
    """Where a syslog listens: a socket's path (`kind` "unix"), or a host and a port ("udp", "tcp")."""

    kind: str
    place: str
    port: int = 0

    def __str__(self) -> str:
        if self.kind == "unix":
            return self.place
        return f"{self.kind}://{f'[{self.place}]' if ':' in self.place else self.place}:{self.port}"


def destination(text: str) -> Destination:
    """From `/dev/log`, `udp://host:port` or `tcp://host:port` (514 where no port is named). Raises ValueError."""
    if text.startswith("/") and len(os.fsencode(text)) <= _LONGEST_SOCKET_PATH:
        return Destination("unix", text)
    try:
        parts = urlsplit(text)
        port = SYSLOG_UDP_PORT if parts.port is None else parts.port
        found = Destination(parts.scheme, parts.hostname or "", port)
    except ValueError:
        found = Destination("", "")
    # Built again from its parts: what has other ones too (a user, a path, a blank) is another text.
    is_whole = text.lower() in (str(found), str(found).rpartition(":")[0]) and not re.search(r"\s", text)
    if found.kind in ("udp", "tcp") and found.place and found.port and is_whole:
        return found
    raise ValueError(f"{text!r} is neither the path of a socket (/dev/log) nor udp://host:port nor tcp://host:port")


class Waiting(NamedTuple):
    """A line that was not sent yet: its text, the time it bears, and where in the file it ends."""

    text: str
    at: datetime
    end: int


def waiting(path: Path, to: Destination) -> Iterator[Waiting]:
    """The lines of the anchor file that have not been sent there; for a new destination the last one is the first."""
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return
    with handle:
        size = handle.seek(0, os.SEEK_END)
        sent = _sent(path, to)
        handle.seek(sent if sent is not None and sent <= size else _start_of_last_line(path))
        for line in iter(handle.readline, b""):
            at = _time_of(line)
            if at is not None:
                yield Waiting(line.decode("ascii").rstrip("\n"), at, handle.tell())


class Forwarder:
    """Sends the lines of the anchor file, in order, each at least once. Only for who holds the sealer's lock."""

    def __init__(self, path: Path, to: Destination) -> None:
        self._path = path
        self._to = to
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)
        self._failing = False

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is there and end; what can't be sent in three seconds waits for the next start, which is logged."""
        self._stop.set()
        self._thread.join(FAREWELL_SECONDS)
        left = sum(1 for _ in waiting(self._path, self._to))
        if left:
            log.error("Anchors not sent to syslog at %s: %d. They wait for the next start.", self._to, left)

    def forward(self) -> int:
        """Send what waits; returns how many lines. Raises OSError where the syslog can't be reached."""
        if _sent(self._path, self._to) is None and self._path.exists():
            _keep(self._path, self._to, _start_of_last_line(self._path))  # from here on nothing is left out
        count = 0
        while batch := list(islice(waiting(self._path, self._to), BATCH)):
            _send(self._to, [line.text for line in batch])
            _keep(self._path, self._to, batch[-1].end)
            count += len(batch)
        return count

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(LOOK_SECONDS if self._try() else RETRY_SECONDS)
        self._try()

    def _try(self) -> bool:
        try:
            self.forward()
        except (OSError, ValueError) as error:  # a host's name that can't be one is a ValueError
            if not self._failing:
                log.error("Anchors don't reach syslog at %s: %s. They wait, and it is tried again.", self._to, error)
            self._failing = True
            return False
        if self._failing:
            log.info("Anchors reach syslog at %s again.", self._to)
        self._failing = False
        return True


class _Handler(SysLogHandler):
    """One connection to a syslog; what goes wrong is raised."""

    socket: Socket  # made by the library, which declares none
    ident = f"{TAG}: "
    append_nul = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            raise error


def _send(to: Destination, lines: Sequence[str]) -> None:
    """Raises OSError when the syslog is not there, or closes before it has read them to the end."""
    place = to.place if to.kind == "unix" else (to.place, to.port)
    kind = {"unix": None, "udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[to.kind]
    handler = _Handler(place, facility=SysLogHandler.LOG_AUTH, socktype=kind)
    try:
        is_stream = handler.socktype == socket.SOCK_STREAM
        handler.setFormatter(logging.Formatter("%(message)s\n" if is_stream else "%(message)s"))
        if to.kind == "udp":
            handler.socket.connect(place)  # a refusal of the other machine is told to connected sockets only
        elif is_stream:
            handler.socket.settimeout(_STREAM_SECONDS)
        for line in lines:
            handler.emit(logging.makeLogRecord({"msg": line, "levelno": logging.INFO, "levelname": "INFO"}))
        if is_stream:
            _until_read(handler.socket)
        elif to.kind == "udp":
            _unless_refused(handler.socket)
    finally:
        handler.close()


def _until_read(stream: Socket) -> None:
    """A syslog closes when it has read to the end. One that died, or hangs, does not. Raises OSError."""
    stream.shutdown(socket.SHUT_WR)
    while stream.recv(4096):
        pass


def _unless_refused(datagrams: Socket) -> None:
    """Raises OSError when the other machine answers that nobody listens. That it says nothing proves nothing."""
    poll = select.poll()
    poll.register(datagrams, select.POLLERR)
    if poll.poll(_REFUSAL_SECONDS * 1000):
        number = datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        raise OSError(number, os.strerror(number))


def _state_file(path: Path) -> Path:
    return path.with_name("syslog.json")


def _sent(path: Path, to: Destination) -> int | None:
    """How many bytes of the anchor file were sent there; None where nothing was."""
    try:
        state = json.loads(_state_file(path).read_text())
        return int(state["sent"]) if state["to"] == str(to) else None
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _keep(path: Path, to: Destination, sent: int) -> None:
    state = _state_file(path)
    draft = state.with_name(f".{state.name}.{os.getpid()}")
    draft.write_text(encode({"sent": sent, "to": str(to)}))
    os.replace(draft, state)


def _start_of_last_line(path: Path) -> int:
    with path.open("rb") as handle:
        start = max(0, handle.seek(0, os.SEEK_END) - _TAIL_BYTES)
        handle.seek(start)
        whole, _, _ = handle.read().rpartition(b"\n")
    return start + whole.rfind(b"\n") + 1


def _time_of(line: bytes) -> datetime | None:
    """The time that an anchor's line bears; None for one that a crash cut short, or that is still being written."""
    try:
        at = datetime.fromisoformat(json.loads(line)["at"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return at if at.tzinfo and line.endswith(b"\n") and line.isascii() else None
