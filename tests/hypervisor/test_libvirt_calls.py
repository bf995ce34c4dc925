"""Calls that can be given up: no caller waits for what hangs, and nothing is done for a caller that has gone."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import libvirt
import pytest

from hypervisor.errors import AgentUnavailable, HostUnreachable, HypervisorError, NotSupported, OperationTimeout
from hypervisor.libvirt_driver import open_libvirt
from hypervisor.libvirt_driver.calls import Calls, check_wanted, given_up, in_background

PATIENCE = 20.0


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """What a hanging call waits for; set at the end, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_returns_what_it_returns_and_raises_what_it_raises() -> None:
    calls = Calls()
    assert calls.run(lambda: 7, seconds=PATIENCE) == 7
    with pytest.raises(KeyError):
        calls.run(lambda: {}["missing"], seconds=None)


def test_a_call_that_hangs_costs_its_caller_its_budget_only(hang: threading.Event) -> None:
    calls = Calls()
    began = time.monotonic()
    with pytest.raises(OperationTimeout):
        calls.run(lambda: hang.wait(PATIENCE), seconds=0.05)
    assert time.monotonic() - began < PATIENCE / 2
    assert calls.run(lambda: "next", seconds=PATIENCE) == "next"


def test_an_end_lets_every_caller_go(hang: threading.Event) -> None:
    calls, inside = Calls(), threading.Barrier(4)

    def hanging() -> None:
        inside.wait(PATIENCE)
        hang.wait(PATIENCE)

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(calls.run, hanging, seconds=None) for _ in range(3)]
        inside.wait(PATIENCE)
        calls.end("It was closed.")
        for future in waiting:
            with pytest.raises(HostUnreachable, match="It was closed"):
                future.result(PATIENCE)
    with pytest.raises(HostUnreachable):
        calls.run(lambda: 7, seconds=None)


def test_what_comes_too_late_is_discarded(hang: threading.Event) -> None:
    calls = Calls()
    discarded: list[str] = []
    gone = threading.Event()

    def late() -> str:
        hang.wait(PATIENCE)
        return "late"

    def discard(result: str) -> None:
        discarded.append(result)
        gone.set()

    with pytest.raises(OperationTimeout):
        calls.run(late, seconds=0.05, discard=discard)
    hang.set()
    assert gone.wait(PATIENCE)
    assert discarded == ["late"]


def test_the_steps_of_an_abandoned_call_are_not_done(hang: threading.Event) -> None:
    calls = Calls()
    done: list[int] = []
    ended = threading.Event()

    def steps() -> None:
        try:
            assert not given_up()
            check_wanted()
            done.append(1)
            hang.wait(PATIENCE)
            check_wanted()
            done.append(2)
        finally:
            ended.set()

    with pytest.raises(OperationTimeout):
        calls.run(steps, seconds=0.05)
    hang.set()
    assert ended.wait(PATIENCE)
    assert done == [1]


def test_a_call_within_a_call_runs_in_its_thread() -> None:
    calls = Calls()
    outer, inner = calls.run(
        lambda: (threading.get_ident(), calls.run(threading.get_ident, seconds=PATIENCE)), seconds=PATIENCE
    )
    assert outer == inner != threading.get_ident()


def test_threads_are_used_again() -> None:
    calls = Calls()
    for _ in range(200):
        calls.run(lambda: None, seconds=PATIENCE)
    assert sum(thread.name == "libvirt-call" for thread in threading.enumerate()) <= 9


def test_work_in_the_background_ends_also_when_it_fails(hang: threading.Event) -> None:
    hang.set()
    assert in_background(lambda: None).wait(PATIENCE)
    assert in_background(lambda: {}["missing"]).wait(PATIENCE)


def test_an_error_holds_nothing_of_libvirts() -> None:
    """What a kept error held would be freed anywhere and any time, and spoil the error of another call there."""
    connection = open_libvirt("test:///default")
    uuid = connection.list_guests()[0].uuid

    def domains() -> int:
        # By type: `isinstance` would follow weak proxies of other tests, some of them dead.
        return sum(type(one) is libvirt.virDomain for one in gc.get_objects())

    gc.collect()
    before = domains()
    with pytest.raises(AgentUnavailable) as kept:
        connection.agent_ping(uuid)
    assert domains() == before
    assert kept.value.__cause__ is not None
    connection.close()


def test_a_connection_does_not_cross_a_fork() -> None:
    """The child is told so, and does the parent no harm."""
    parent = open_libvirt("test:///default")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, "\n".join(_in_the_child(parent)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        told = answers.read().splitlines()
    assert os.waitpid(pid, 0)[1] == 0
    assert told == [HostUnreachable.__name__, HostUnreachable.__name__, NotSupported.__name__, "False"]
    assert parent.is_alive()
    assert parent.list_guests()
    parent.close()


def _in_the_child(parent: object) -> list[str]:
    told = []
    for attempt in (
        lambda: parent.list_guests(),  # type: ignore[attr-defined]
        lambda: parent.watch(print, print),  # type: ignore[attr-defined]
        lambda: open_libvirt("test:///default"),
    ):
        try:
            attempt()
            told.append("nothing")
        except HypervisorError as error:
            told.append(type(error).__name__)
    told.append(str(parent.is_alive()))  # type: ignore[attr-defined]
    parent.close()  # type: ignore[attr-defined]
    return told
