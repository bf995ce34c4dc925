"""What an operation is given to work with: its job, the hosts, steps, the journal, and effects with a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import transaction
from django.utils import timezone

from access import gate
from access.errors import Refused
from access.gate import SYSTEM, Actor
from audit.events import EventAction, Outcome
from audit.record import record_alone
from hypervisor import pool
from hypervisor.errors import HypervisorError
from hypervisor.protocol import Hypervisor
from inventory.models import VM, Host
from jobs.engine.heartbeat import Heartbeat
from jobs.errors import CancelRequested, Fenced, OperationFailed, RightWithdrawn
from jobs.models import Job, Step
from jobs.operations.base import Operation
from jobs.transitions import write

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one named check. `why` says what to do when it does not hold."""

    name: str
    title: str
    holds: bool
    code: str
    why: str
    found: str = ""


#: Least time between two progress writes, in seconds; a new phase is always written at once.
PROGRESS_EVERY = 0.25


class JobContext:
    """One claimed job in one worker."""

    def __init__(self, job: Job, operation: Operation, heartbeat: Heartbeat, resources: ExitStack) -> None:
        self.job = job
        self.operation = operation
        self.params: dict[str, Any] = job.params
        self._heartbeat = heartbeat
        self._resources = resources
        self._hosts: dict[int, Hypervisor] = {}
        self._phase_of_steps = ""
        self._progress_written = 0.0

    # -- who and what -------------------------------------------------------------------------------------------

    @property
    def actor(self) -> Actor:
        """In whose name the job works: its requester, with the rights they hold now."""
        return self.job.requested_by or SYSTEM

    @property
    def vm(self) -> VM:
        """The VM it works on. Raises OperationFailed for jobs on hosts."""
        if self.job.vm is None:
            raise OperationFailed("no_vm", "This job has no VM.")
        return self.job.vm

    @property
    def uuid(self) -> str:
        """The VM's UUID."""
        return str(self.vm.uuid)

    @property
    def token(self) -> str:
        """The job's mark on whatever it creates: eight characters of its id."""
        return self.job.pk.hex[:8]

    def home(self) -> Host:
        """The host the VM is on, as last derived. Raises OperationFailed when it is on none."""
        self.vm.refresh_from_db(fields=["host"])
        if self.vm.host is None:
            raise OperationFailed("vm_nowhere", f"{self.vm} is on no host that Slipway knows.")
        return self.vm.host

    def on(self, host: Host) -> Hypervisor:
        """A connection to a host, kept until the job's run ends. Raises HostUnreachable."""
        connection = self._hosts.get(host.pk)
        if connection is None or not connection.is_alive():
            connection = self._resources.enter_context(pool.borrow(host.uri))
            self._hosts[host.pk] = connection
        return connection

    # -- may it go on -------------------------------------------------------------------------------------------

    def check_rights(self) -> None:
        """Raise RightWithdrawn unless the requester still holds what the job needs."""
        try:
            gate.authorise(self.actor, self.operation.action, self.job.target)
            self.operation.rights(self)
        except Refused as error:
            raise RightWithdrawn(
                f"{self.job.requester_name} no longer holds the right “{error.action.label}” that this job needs."
            ) from error

    def check_fence(self) -> None:
        """Raise Fenced unless this worker still owns the job, asking the database."""
        write(self.job, heartbeat_at=timezone.now())

    def is_cancelled(self) -> bool:
        """Whether a cancel was asked for (known within one heartbeat)."""
        if self._heartbeat.lost.is_set():
            raise Fenced(f"{self.job} was taken over")
        return self._heartbeat.cancel_requested.is_set()

    def check_cancel(self) -> None:
        """Raise CancelRequested if a cancel was asked for: called where stopping leaves nothing half-done."""
        if self.is_cancelled():
            raise CancelRequested(f"Cancelled by {self.cancelled_by()}.")

    def cancelled_by(self) -> str:
        """Who asked to cancel."""
        return Job.objects.values_list("cancel_requested_by", flat=True).get(pk=self.job.pk) or "request"

    # -- what it did -------------------------------------------------------------------------------------------

    def begin_phase(self, name: str) -> None:
        """Name the phase (`precheck`, `execute`, `verify`, `rollback`) that the following steps belong to."""
        self._phase_of_steps = name

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Step]:
        """A named part of the job; set `step.detail` inside to say what was found. A failure marks it failed."""
        step = self._open_step(name, title)
        try:
            yield step
        except BaseException as error:
            self._close_step(step, Step.State.FAILED, str(error))
            raise
        self._close_step(step, Step.State.DONE, step.detail)

    def verdicts(self, findings: Sequence[Verdict]) -> None:
        """Write many checks at once, then fail the job with the first that did not hold (OperationFailed)."""
        now = timezone.now()
        with transaction.atomic():
            self.check_fence()
            self.job.steps.filter(name__in=[verdict.name for verdict in findings]).delete()
            position = self._next_position()
            Step.objects.bulk_create(
                Step(
                    job=self.job,
                    position=position + offset,
                    phase=self._phase_of_steps,
                    name=verdict.name,
                    title=verdict.title,
                    state=Step.State.DONE if verdict.holds else Step.State.FAILED,
                    detail=(verdict.found if verdict.holds else verdict.why)[:10_000],
                    started_at=now,
                    finished_at=now,
                )
                for offset, verdict in enumerate(findings)
            )
        for verdict in findings:
            if not verdict.holds:
                raise OperationFailed(verdict.code, verdict.why)

    def _open_step(self, name: str, title: str) -> Step:
        with transaction.atomic():
            self.check_fence()
            position = self._next_position()
            facts = {
                "title": title,
                "phase": self._phase_of_steps,
                "state": Step.State.RUNNING,
                "started_at": timezone.now(),
            }
            step, created = Step.objects.get_or_create(job=self.job, name=name, defaults=facts | {"position": position})
            if not created:
                Step.objects.filter(pk=step.pk).update(state=Step.State.RUNNING, finished_at=None)
        return step

    def _next_position(self) -> int:
        last = self.job.steps.order_by("-position").values_list("position", flat=True).first()
        return 0 if last is None else last + 1

    def _close_step(self, step: Step, state: Step.State, detail: str) -> None:
        Step.objects.filter(pk=step.pk).update(state=state, detail=detail[:10_000], finished_at=timezone.now())

    def note(self, **facts: Any) -> None:
        """Add to the journal what the next `journal()` will commit: for prechecks, which have no effects yet."""
        self.job.journal = self.job.journal | facts

    def journal(self, **facts: Any) -> None:
        """Commit what recovery will need, before the effect that it is about. Raises Fenced."""
        write(self.job, journal=self.job.journal | facts)

    def progress(self, phase: str, percent: int | None = None, **facts: Any) -> None:
        """Show where the job is. Percent never goes back, and stays below 100 until the job is verified."""
        shown = max(self.job.percent, min(percent if percent is not None else self.job.percent, 99))
        now = time.monotonic()
        if phase == self.job.phase and now - self._progress_written < PROGRESS_EVERY:
            return
        self._progress_written = now
        write(self.job, phase=phase, percent=shown, progress=self.job.progress | facts | {"phase": phase})

    def result(self, **facts: Any) -> None:
        """Add to the job's result."""
        write(self.job, result=self.job.result | facts)

    def effect(self, call: str, do: Callable[[], T], *, host: Host, **detail: Any) -> T:
        """Do something to a hypervisor: rights and fence checked, the intent committed before, the outcome after.

        Raises what `do` raises; RightWithdrawn, Fenced, when it may not be done any more.
        """
        self.check_rights()
        return self.undo_effect(call, do, host=host, **detail)

    def undo_effect(self, call: str, do: Callable[[], T], *, host: Host, **detail: Any) -> T:
        """An effect that restores what the job found: also done when the requester's right is gone meanwhile."""
        self.check_fence()
        facts = {"call": call, "host": host.name, **detail}
        record_alone(EventAction.EFFECT_INTENT, target=self.job.target, outcome=Outcome.INTENT, detail=facts)
        try:
            value = do()
        except HypervisorError as error:
            outcome = Outcome.UNKNOWN if error.retryable else Outcome.FAILED
            facts |= {"error": error.code, "message": str(error)}
            record_alone(EventAction.EFFECT_OUTCOME, target=self.job.target, outcome=outcome, detail=facts)
            raise
        record_alone(EventAction.EFFECT_OUTCOME, target=self.job.target, outcome=Outcome.OK, detail=facts)
        return value
