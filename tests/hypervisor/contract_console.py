"""The contract's part about consoles."""

from __future__ import annotations

import threading
import time

import pytest

from hypervisor.errors import ConsoleEnded, ConsoleTaken, GuestNotFound, GuestStateInvalid
from hypervisor.protocol import Console, Hypervisor
from tests.hypervisor.contract_base import ContractBase, Estate, Feature, needs

STRANGER = "00000000-0000-4000-8000-000000000000"


def read_until(console: Console, wanted: bytes, patience: float = 120.0) -> bytes:
    """What the guest writes until it has written `wanted`; an Enter now and then wakes a sleepy one."""
    seen, give_up = b"", time.monotonic() + patience
    while wanted not in seen:
        assert time.monotonic() < give_up, f"{wanted!r} did not come, but {seen[-500:]!r}"
        piece = console.read(2.0)
        if not piece:
            console.write(b"\r")
        seen += piece
    return seen


class ConsoleContract(ContractBase):
    """Serial consoles."""

    @needs(Feature.AGENT)  # a guest with one has a shell at its console too
    def test_what_is_typed_arrives_and_is_answered(self, estate: Estate, first: Hypervisor) -> None:
        console = first.open_console(estate.guest)
        try:
            read_until(console, b"# ")
            console.write(b"echo 4$?2\r")
            read_until(console, b"402")
        finally:
            console.close()

    def test_one_at_a_time(self, estate: Estate, first: Hypervisor) -> None:
        console = first.open_console(estate.guest)
        try:
            with pytest.raises(ConsoleTaken):
                first.open_console(estate.guest)
        finally:
            console.close()
        eventually_open(first, estate.guest).close()

    def test_a_guest_that_is_off_has_none(self, estate: Estate, first: Hypervisor) -> None:
        first.force_off(estate.guest)
        with pytest.raises(GuestStateInvalid):
            first.open_console(estate.guest)

    def test_an_unknown_guest_has_none(self, first: Hypervisor) -> None:
        with pytest.raises(GuestNotFound):
            first.open_console(STRANGER)

    def test_it_ends_with_the_guest(self, estate: Estate, first: Hypervisor) -> None:
        console = first.open_console(estate.guest)
        first.force_off(estate.guest)
        with pytest.raises(ConsoleEnded):
            read_to_the_end(console)
        with pytest.raises(ConsoleEnded):
            console.write(b"\r")
        console.close()

    def test_closing_ends_a_read_in_another_thread(self, estate: Estate, first: Hypervisor) -> None:
        console = first.open_console(estate.guest)
        ended = threading.Event()

        def read() -> None:
            try:
                read_to_the_end(console)
            except ConsoleEnded:
                ended.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        console.close()
        console.close()
        assert ended.wait(30)
        reader.join(5)


def read_to_the_end(console: Console, patience: float = 60.0) -> None:
    """Read on. Raises ConsoleEnded; fails when that does not come."""
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        console.read(1.0)
    pytest.fail("the console did not end")


def eventually_open(host: Hypervisor, guest: str, patience: float = 30.0) -> Console:
    """Open it as soon as who had it has let go of it."""
    give_up = time.monotonic() + patience
    while True:
        try:
            return host.open_console(guest)
        except ConsoleTaken:
            assert time.monotonic() < give_up, "the console was not let go of"
            time.sleep(0.05)
