"""The simulated guests' serial console: a root shell without a sign-in, as far as they understand one."""

from __future__ import annotations

import threading
import time

from hypervisor.errors import ConsoleEnded, ConsoleTaken, HypervisorError
from hypervisor.simulated_driver import guests, machine, programs
from hypervisor.simulated_driver.agent import aftermath
from hypervisor.simulated_driver.session import Session, must_be_active
from hypervisor.types import PowerState

PIECE_BYTES = 64 * 1024
_PROMPT = b"# "
_LOOK_SECONDS = 0.2
_RUBOUT, _INTERRUPT = (b"\x7f", b"\x08"), b"\x03"

#: Who has which guest's console open, in this process.
_taken: set[tuple[str, str]] = set()
_taken_lock = threading.Lock()


class SimulatedConsole:
    """The protocol's `Console`."""

    def __init__(self, session: Consoles, uuid: str, name: str) -> None:
        self._session = session
        self._uuid = uuid
        self._changed = threading.Condition()
        self._arrived = bytearray(b"\r\n" + name.encode() + b" (simulated)\r\n\r\n" + _PROMPT)
        self._line = bytearray()
        self._closed = False

    def read(self, seconds: float) -> bytes:
        """What the guest wrote; empty when nothing came in time. Raises ConsoleEnded."""
        give_up = time.monotonic() + seconds
        with self._changed:
            while not self._arrived:
                self._must_stand()
                left = give_up - time.monotonic()
                if left <= 0:
                    return b""
                self._changed.wait(min(left, _LOOK_SECONDS))
            found = bytes(self._arrived[:PIECE_BYTES])
            del self._arrived[:PIECE_BYTES]
            return found

    def write(self, data: bytes) -> None:
        """Type it; a line is run when it ends. Raises ConsoleEnded."""
        with self._changed:
            self._must_stand()
            for number in data:
                self._type(bytes([number]))
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of it. Idempotent."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        with _taken_lock:
            _taken.discard((self._session.host, self._uuid))

    def _must_stand(self) -> None:
        if self._closed:
            raise ConsoleEnded("The console was closed.")
        try:
            with self._session.look() as db:
                guest = guests.find(db, self._session.host, self._uuid)
        except HypervisorError as error:
            raise ConsoleEnded(error.message) from error
        if not guests.is_active(guest):
            raise ConsoleEnded("The guest's console has ended.")

    def _type(self, character: bytes) -> None:
        if character == b"\r":
            self._arrived += b"\r\n" + self._run(self._line.decode("utf-8", "replace")) + _PROMPT
            self._line.clear()
        elif character == _INTERRUPT:
            self._arrived += b"^C\r\n" + _PROMPT
            self._line.clear()
        elif character in _RUBOUT:
            if self._line:
                del self._line[-1:]
                self._arrived += b"\b \b"
        elif character >= b" ":
            self._line += character
            self._arrived += character

    def _run(self, line: str) -> bytes:
        outcome = self._session.run_at_console(self._uuid, line)
        return (outcome.stdout + outcome.stderr).replace(b"\n", b"\r\n")


class Consoles(Session):
    """The protocol's `Consoles`."""

    def open_console(self, uuid: str) -> SimulatedConsole:
        """Open the guest's console, for one at a time."""
        with self.look() as db:
            guest = guests.find(db, self.host, uuid)
        must_be_active(guest)
        with _taken_lock:
            if (self.host, uuid) in _taken:
                raise ConsoleTaken(f"Somebody has the console of {guest['name']} open.")
            _taken.add((self.host, uuid))
        return SimulatedConsole(self, uuid, guest["name"])

    def run_at_console(self, uuid: str, line: str) -> machine.Outcome:
        """Run a line in the guest's shell, which answers at once. A guest that stands still runs nothing."""
        with self.change() as tx:
            guest = guests.find(tx, self.host, uuid)
            if guest["state"] != PowerState.RUNNING:
                return machine.Outcome()
            inside = machine.load(tx, guest)
            programs.finish_units(inside, time.time())
            outcome = programs.run(inside, ["sh", "-c", line], time.time())
            machine.save(tx, guest, inside)
            aftermath(tx, guest, outcome)
        return outcome
