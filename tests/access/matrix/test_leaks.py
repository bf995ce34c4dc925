"""Nothing leaks: no name where it may not be known, and no difference between what is hidden and what is not there."""

from __future__ import annotations

import pytest

from tests.access.matrix.notation import PEOPLE, grid
from tests.access.matrix.walk import Walk, probes

pytestmark = pytest.mark.django_db

#: Names that the lists, pages and answers do show to somebody. Seeing them there proves that the search can find them.
PLANTED = {f"{name}-canary" for name in grid("canaries") if ":" not in name}


def test_no_answer_names_what_its_reader_may_not_know(walk: Walk):
    assert walk.leaks == [], f"{len(walk.leaks)} names"


def test_the_search_for_names_finds_those_that_are_shown(walk: Walk):
    assert walk.seen - PLANTED == set()
    assert len(walk.seen) >= 20


def test_what_is_hidden_is_answered_as_what_is_not_there(walk: Walk):
    """Status, headers and body, byte for byte, but for what `asking.MASKS` names."""
    assert walk.unlike == [], f"{len(walk.unlike)} of {walk.pairs} pairs"


def test_no_question_tells_of_what_is_hidden(probing: Walk):
    assert probing.cells == 2 * len(probes()) * len(PEOPLE)
    assert probing.unlike == []
    assert probing.leaks == []
