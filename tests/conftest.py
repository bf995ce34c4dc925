"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import TransactionTestCase

from audit import triggers


@pytest.fixture(scope="session", autouse=True)
def _flush_may_empty_the_record() -> Iterator[None]:
    """A test with real transactions ends by emptying every table, which the record's triggers would refuse."""
    flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]  # Django's hook has no stub

    def flush_with_triggers_lifted(case: Any) -> None:
        with triggers.lifted():
            flush(case)

    TransactionTestCase._fixture_teardown = flush_with_triggers_lifted  # type: ignore[attr-defined]
    yield
    TransactionTestCase._fixture_teardown = flush  # type: ignore[attr-defined]
