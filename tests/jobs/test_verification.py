"""When a guest is taken to live after its migration."""

from __future__ import annotations

from itertools import chain, pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.operations.migrate.verification import BEATS, Pulse


def asked(answers: list[int], times: int) -> list[bool | None]:
    """What a pulse says, asked so often, where the host's answers end with the last one for ever."""
    told = chain(answers, repeat(answers[-1]))
    pulse = Pulse(lambda: next(told))
    return [pulse() for _ in range(times)]


@pytest.mark.parametrize(
    ("answers", "lives"),
    [
        ([7], False),
        ([0, 1], False),  # once may be QEMU's own doing
        ([0, 5_000_000_000], False),
        ([3, 4, 4, 5, 5, 5, 6], True),
        ([9, 1, 2, 3, 4], True),  # another count: it begins anew
    ],
)
def test_a_guest_lives_whose_processors_ran_again_and_again(answers: list[int], lives: bool) -> None:
    assert (asked(answers, 40)[-1] is True) is lives


@given(st.lists(st.integers(min_value=0, max_value=9), min_size=1, max_size=12))
def test_it_takes_as_many_beats_as_it_says(answers: list[int]) -> None:
    beats = sum(later > earlier for earlier, later in pairwise(answers))
    assert (asked(answers, 40)[-1] is True) == (beats >= BEATS)
