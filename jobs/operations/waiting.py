"""Waiting for a guest to become something: by asking, with a deadline, and leaving at once on cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

T = TypeVar("T")


def wait_for(
    context: JobContext, ask: Callable[[], T | None], *, seconds: float, every: float = 0.2, cancellable: bool = True
) -> T | None:
    """Ask until the answer is not None, and return it; None when time is up. Raises CancelRequested, Fenced."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None:
            return answer
        if cancellable:
            context.check_cancel()
        if time.monotonic() >= deadline:
            return None
        time.sleep(min(every, max(0.0, deadline - time.monotonic())))
