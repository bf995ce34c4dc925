"""The pause as seen from outside: the reckoning by itself, and real echoes over links that are cut."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor.echoes import EVERY, Echoes, longest_silence


def test_nothing_is_told_without_two_answers() -> None:
    assert longest_silence([], []) is None
    assert longest_silence([0.0, 0.02], [(0, 0.001)]) is None


def test_the_silence_is_from_answer_to_answer() -> None:
    sent = [number * EVERY for number in range(20)]
    answered = [(number, at + 0.001) for number, at in enumerate(sent) if not 5 <= number < 12]
    assert longest_silence(sent, answered) == pytest.approx(8 * EVERY)


def test_answers_that_come_late_all_at_once_are_no_answers_meanwhile() -> None:
    sent = [number * EVERY for number in range(20)]
    answered = [(number, at + 0.001 if number < 5 else 0.5) for number, at in enumerate(sent)]
    assert longest_silence(sent, answered) == pytest.approx(0.5 - (4 * EVERY + 0.001))


def test_who_does_not_ask_hears_no_silence() -> None:
    sent = [0.0, 0.02, 0.5, 0.52]
    assert longest_silence(sent, [(number, at + 0.001) for number, at in enumerate(sent)]) == pytest.approx(0.02)


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=40), st.data())
def test_it_is_never_longer_than_from_the_first_answer_to_the_last(steps: list[float], data: st.DataObject) -> None:
    sent = [sum(steps[:number]) for number in range(len(steps))]
    heard = data.draw(st.sets(st.integers(0, len(sent) - 1)))
    answered = [(number, sent[number] + data.draw(st.floats(0, 2.0))) for number in sorted(heard)]
    longest = longest_silence(sent, answered)
    assert (longest is None) == (len(answered) < 2)
    if longest is not None:
        moments = [at for _, at in answered]
        assert 0 <= longest <= max(moments) - min(moments)


@pytest.fixture
def neighbour() -> Iterator[tuple[str, str]]:
    """A namespace at the other end of a link; our end of the link, and the address there."""
    if os.geteuid() != 0:
        pytest.fail("A network namespace needs root; leave this test out without.")
    name = f"echo{uuid4().hex[:6]}"
    ours, theirs = f"{name}a", f"{name}b"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("address", "add", "198.51.100.1/30", "dev", ours)
        ip("-n", name, "address", "add", "198.51.100.2/30", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        ip("link", "set", ours, "up")
        yield ours, "198.51.100.2"
    finally:
        ip("netns", "delete", name)


def test_a_link_that_is_cut_for_a_while_is_measured(neighbour: tuple[str, str]) -> None:
    link, address = neighbour
    echoes = Echoes(address)
    assert echoes.answered(5, seconds=10)
    cut = time.time()
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    time.sleep(0.3)
    subprocess.run(["ip", "link", "set", link, "up"], check=True)
    assert echoes.answered(5, seconds=30)
    longest, whole = echoes.stop().longest_ms, time.time() - cut
    assert longest is not None
    assert 280 <= longest <= 1000 * whole


def test_who_never_answers_is_named(neighbour: tuple[str, str]) -> None:
    link, address = neighbour
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    measured = Echoes(address).stop()
    assert measured.longest_ms is None
    assert measured.why == f"{address} does not answer"


def test_who_stops_answering_is_not_given_a_figure(neighbour: tuple[str, str]) -> None:
    link, address = neighbour
    echoes = Echoes(address)
    assert echoes.answered(5, seconds=10)
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    measured = echoes.stop()
    assert measured.longest_ms is None
    assert "no longer answers" in measured.why


def test_a_process_with_many_files_open_hears_as_well(neighbour: tuple[str, str]) -> None:
    """select() knows no file beyond the 1024th, and a worker may have as many."""
    _link, address = neighbour
    with ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(Path(os.devnull).open())
        echoes = Echoes(address)
        assert echoes.answered(3, seconds=10)
        silence = echoes.stop()
    assert silence.longest_ms is not None, silence.why
