"""Words for quantities, the tree of snapshots, the stages of a job: without a database."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.models import Snapshot
from jobs.models import Job
from jobs.operations.registry import OPERATIONS
from jobs.states import State
from portal.pages.job_facts import rates
from portal.pages.job_stages import stages
from portal.pages.snapshot_tree import Node, tree
from portal.pages.wording import age_words, length_words, operation_words, size_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (172_799, "47 h"), (172_800, "2 d")],
)
def test_ages(seconds: float, words: str) -> None:
    assert age_words(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1424, "142 ms"), (3.24, "3.2 s"), (41.4, "41 s"), (59.7, "1 min"), (245, "4 min 5 s"), (90_000, "1 d 1 h")],
)
def test_lengths(seconds: float, words: str) -> None:
    assert length_words(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (512 * 2**20, "512 MiB"), (1.5 * 2**30, "1.5 GiB"), (2**52, "4096 TiB")],
)
def test_sizes(size: float, words: str) -> None:
    assert size_words(size) == words


def test_every_operation_has_words() -> None:
    assert [name for name in OPERATIONS if operation_words(name) == name] == []


def _names(nodes: list[Node]) -> list[str]:
    return [name for node in nodes for name in (node.snapshot.name, *_names(node.children))]


@given(
    st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from(["", *"abcdefgx"])), unique_by=lambda pair: pair[0])
)
def test_a_tree_holds_each_snapshot_once_whatever_the_hosts_say_of_parents(pairs: list[tuple[str, str]]) -> None:
    rows = [Snapshot(name=name, parent_name=parent) for name, parent in pairs]
    assert sorted(_names(tree(rows))) == sorted(name for name, _ in pairs)


def _job(operation: str, state: State, phase: str, **facts: Any) -> Job:
    return Job(operation=operation, state=state, progress={"phase": phase} if phase else {}, **facts)


PHASES = ("", "starting", "checking", "saving", "finding out", "post-copy", "verifying", "what?")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stages_go_from_left_to_right_whatever_the_job_says(operation: str) -> None:
    order = ["done", "now", "stopped", "ahead"]
    for state, phase in product(State, PHASES):
        shown = [stage.state for stage in stages(_job(operation, state, phase))]
        assert shown == sorted(shown, key=order.index), (state, phase)
        here = shown.count("now") + shown.count("stopped")
        if state == State.SUCCEEDED:
            assert set(shown) == {"done"}, phase
        else:
            assert here == 1 or "done" not in shown, (state, phase)


def test_rates_are_compared_with_the_greater_one() -> None:
    assert rates({"bps": 0, "dirty_bps": 0}) is None
    found = rates({"bps": 50, "dirty_bps": 200})
    assert found is not None
    assert (found.link_bar, found.dirt_bar, found.is_losing) == (25, 100, True)
