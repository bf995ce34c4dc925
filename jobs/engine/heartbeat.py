"""The lease of a running job: renewed by a thread as long as the worker lives."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import connection
from django.utils import timezone

from jobs.models import Job
from jobs.states import LEASED, State

log = logging.getLogger(__name__)


class Heartbeat:
    """Renews the job's lease until left, and notices when it was taken away or a cancel was asked for.

    `lost` is set when the row no longer carries our fence; `cancel_requested` when somebody asked to cancel. A
    database that does not answer is not a lost lease: the beats go on, and the fence at the next write decides.
    """

    def __init__(self, job: Job) -> None:
        self._pk, self._fence = job.pk, job.fence
        self.lost = threading.Event()
        self.renewed_at = time.monotonic()  # when the write began that last renewed it
        self.cancel_requested = threading.Event()
        if job.cancel_requested_at is not None:
            self.cancel_requested.set()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{job.pk}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._left.wait(settings.SLIPWAY_HEARTBEAT_SECONDS):
                self._renew()
        finally:
            connection.close()

    def _renew(self) -> None:
        try:
            began = time.monotonic()
            mine = Job.objects.filter(pk=self._pk, fence=self._fence, state__in=LEASED)
            if not mine.update(heartbeat_at=timezone.now()):
                self.lost.set()
                return
            self.renewed_at = began
            if mine.filter(state=State.CANCELLING).exists():
                self.cancel_requested.set()
        except Exception as error:  # any database trouble: keep beating, the fence protects the data
            log.warning("job %s: heartbeat failed: %s", self._pk, error)
            connection.close()
