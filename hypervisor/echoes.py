"""The pause of a migration as others on the network see it: an echo asked of the guest every 20 ms (ICMP, RFC 792 and
4443), and the longest time in which none came back.

Where this machine lets ordinary processes ask for echoes (`net.ipv4.ping_group_range`) no privilege is needed; else
CAP_NET_RAW is.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from typing import Self

#: Between two questions, in seconds: what the figure is exact to.
EVERY = 0.02
#: So long an answer is waited for at the end, in seconds.
LAST_WAIT = 1.0
_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_HEADER = struct.Struct("!BBHHH")
#: The kernel notes when a packet arrives (asm-generic/socket.h; not named by Python).
_SO_TIMESTAMPNS = 35


@dataclass(frozen=True, slots=True)
class Silence:
    """What was measured: `longest_ms` is None where it could not be, and `why` says why."""

    longest_ms: int | None
    why: str = ""


def longest_silence(
    sent: Sequence[float], answered: Sequence[tuple[int, float]], *, every: float = EVERY
) -> float | None:
    """Seconds of the longest time without an answer, from the moments (in seconds) at which questions were sent, and
    the (number of the question, moment) of each answer. Pure; None unless two were answered.

    It begins with the last answer before, or, where no question was asked for a while after that, with the next one:
    who does not ask cannot tell.
    """
    arrivals = sorted(answered, key=lambda answer: answer[1])
    longest = None
    for (number, before), (_, after) in pairwise(arrivals):
        following = sent[number + 1] if number + 1 < len(sent) else before
        began = following if following - sent[number] > 2 * every else before
        silence = max(0.0, after - max(began, before))
        longest = silence if longest is None else max(longest, silence)
    return longest


class Echoes:
    """Asks one address for echoes, every so many seconds, from a thread of its own, until stopped or left (`with`)."""

    def __init__(self, address: str, *, every: float = EVERY) -> None:
        self.address, self._every = address, every
        self._family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        self._sent: list[float] = []
        self._answered: list[tuple[int, float]] = []
        self._over = threading.Event()
        self._why = ""
        self._thread = threading.Thread(target=self._ask, name=f"echoes-{address}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """End it without a figure."""
        self._over.set()
        self._thread.join()

    def answered(self, more: int, *, seconds: float) -> bool:
        """Wait until so many more answers have come; whether they have."""
        deadline, wanted = time.monotonic() + seconds, len(self._answered) + more
        while len(self._answered) < wanted and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(self._every / 2)
        return len(self._answered) >= wanted

    def stop(self) -> Silence:
        """End it, after one more answer if that comes soon. Returns what was measured."""
        self.answered(1, seconds=LAST_WAIT)
        self._over.set()
        self._thread.join()
        longest = longest_silence(self._sent, self._answered, every=self._every)
        if longest is None:
            return Silence(None, self._why or f"{self.address} does not answer")
        if self._answered[-1][0] < len(self._sent) - 1 - LAST_WAIT / self._every / 2:
            return Silence(None, f"{self.address} no longer answers")
        return Silence(round(longest * 1000))

    def _ask(self) -> None:
        try:
            with _opened(self._family) as asker:
                answers = select.poll()  # rather than select(), which knows no file beyond the 1024th
                answers.register(asker, select.POLLIN)
                due = time.monotonic()
                while not self._over.is_set():
                    self._send(asker)
                    due = max(due + self._every, time.monotonic() - self._every)
                    while (left := due - time.monotonic()) > 0:
                        if answers.poll(left * 1000):
                            self._receive(asker)
        except PermissionError:
            self._why = "this machine does not let Slipway ask for echoes (net.ipv4.ping_group_range, CAP_NET_RAW)"
        except OSError as error:
            self._why = f"asking {self.address} failed: {error.strerror}"

    def _send(self, asker: socket.socket) -> None:
        number = len(self._sent)
        packet = _HEADER.pack(_REQUEST[self._family], 0, 0, _identity(self), number & 0xFFFF)
        if self._family == socket.AF_INET:
            packet = _HEADER.pack(_REQUEST[self._family], 0, _checksum(packet), _identity(self), number & 0xFFFF)
        self._sent.append(time.time())
        try:
            asker.sendto(packet, (self.address, 0))
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            # The guest's neighbour entry is gone or its host is: not answered, as if it had been lost on the way.

    def _receive(self, asker: socket.socket) -> None:
        data, ancillary, _, (source, *_) = asker.recvmsg(512, 256)
        if asker.type == socket.SOCK_RAW and self._family == socket.AF_INET:
            data = data[4 * (data[0] & 15) :]
        if source.partition("%")[0] != self.address or len(data) < _HEADER.size:
            return
        kind, _, _, identity, low = _HEADER.unpack_from(data)
        mine = asker.type == socket.SOCK_DGRAM or identity == _identity(self)
        if kind == _REPLY[self._family] and mine:
            number = len(self._sent) - 1 - ((len(self._sent) - 1 - low) & 0xFFFF)
            if number >= 0:
                self._answered.append((number, _arrived(ancillary)))


def _opened(family: socket.AddressFamily) -> socket.socket:
    """A socket for echoes that notes when each packet arrives: its reader may be late."""
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    try:
        opened = socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        opened = socket.socket(family, socket.SOCK_RAW, protocol)
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    opened.setblocking(False)
    return opened


def _arrived(ancillary: Sequence[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@ll", data[:16])
            return float(seconds) + nanoseconds / 1e9
    return time.time()


def _identity(echoes: Echoes) -> int:
    return id(echoes) >> 4 & 0xFFFF


def _checksum(packet: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
