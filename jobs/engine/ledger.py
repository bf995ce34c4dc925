"""What a job writes down, in as few commits as its promises allow.

Before an effect, everything that recovery and the record will need is committed together with the intent. What only
tells (a step's end, checks that held, an outcome) is put off to the next commit, which is never far: a crash between
the two leaves what a crash within the call would leave, an intent without an outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from jobs.engine.steps import Steps
from jobs.models import Job
from jobs.transitions import write


class Ledger:
    """One job's columns, steps and events, written by the worker that owns it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._columns: dict[str, Any] = {}
        self._events: list[Callable[[], object]] = []
        self.steps = Steps(job)
        self.committed_at = time.monotonic()  # when the last commit began, which renewed the lease

    def note(self, **columns: Any) -> None:
        """Set columns of the job; the next commit writes them."""
        for name, value in columns.items():
            setattr(self._job, name, value)
        self._columns |= columns

    def tell(self, event: Callable[[], object]) -> None:
        """Put an event (a call of `audit.record.record`) into the next commit."""
        self._events.append(event)

    def commit(self, *, then: Callable[[], object] | None = None, **columns: Any) -> None:
        """Write everything, and do `then`, in one transaction, if the job is still this worker's.

        Raises Fenced; then nothing was written, and the events are still to be told.
        """
        self.note(**columns)
        began = time.monotonic()
        with transaction.atomic():
            write(self._job, **{"heartbeat_at": timezone.now()} | self._columns)
            self.steps.write()
            self._write_events()
            if then is not None:
                then()
        self._columns, self._events, self.committed_at = {}, [], began
        self.steps.written()

    def tell_the_rest(self) -> None:
        """Only the events: what this worker did belongs into the record, even when the job is another's by now."""
        with transaction.atomic():
            self._write_events()
        self._events = []

    def _write_events(self) -> None:
        for event in self._events:
            event()
