"""The walks, each made once and shared by the tests that look at it, whichever process they run in."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from tests.access.matrix.doors import walked_by_other_doors
from tests.access.matrix.walk import TABLES, Walk, probed, walked


@pytest.fixture(scope="package", params=TABLES)
def walk(request: pytest.FixtureRequest, once: Callable[..., Walk]) -> Walk:
    """Every cell of one table, asked."""
    return once(request.param, lambda: walked(request.param))


@pytest.fixture(scope="package")
def probing(once: Callable[..., Walk]) -> Walk:
    """Every probe, asked."""
    return once("probes", probed)


@pytest.fixture(scope="package")
def other_doors(once: Callable[..., Walk]) -> Walk:
    """Sessions at the API, tokens at the pages."""
    return once("doors", walked_by_other_doors)


@pytest.fixture(scope="package")
def once(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Callable[[], Walk]], Walk]:
    """Makes a walk, or takes that which another process of this test run has made."""

    def made(name: str, make: Callable[[], Walk]) -> Walk:
        with django_db_blocker.unblock():
            if "PYTEST_XDIST_WORKER" not in os.environ:
                return _alone(make)
            kept = tmp_path_factory.getbasetemp().parent / f"walk-{name}"
            with kept.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                content = file.read()
                if content:
                    return pickle.loads(content)  # noqa: S301 - our own, of this run
                found = _alone(make)
                pickle.dump(found, file)
                return found

    return made


def _alone(make: Callable[[], Walk]) -> Walk:
    """Walk in a thread of its own, whose stack begins empty.

    On top of a test runner's deep one the same takes half as long again: Python 3.11 keeps frames in small chunks, and
    asks the system for one whenever a call crosses the edge of the last.
    """

    def walk_and_close() -> Walk:
        try:
            return make()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(walk_and_close).result()
