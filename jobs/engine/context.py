"""What an operation is given to work with: its job, the hosts, steps, the journal, and effects with a record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from django.conf import settings

from access import gate
from access.errors import Refused
from access.gate import SYSTEM, Actor
from audit.events import EventAction, Outcome
from audit.record import record
from hypervisor import pool
from hypervisor.errors import AccessDenied, HostUnreachable, HypervisorError
from hypervisor.protocol import Hypervisor
from inventory.models import VM, Host
from jobs.engine.heartbeat import Heartbeat
from jobs.engine.ledger import Ledger
from jobs.errors import (
    CancelRequested,
    Fenced,
    InvalidTransition,
    OperationFailed,
    OutcomeUnknown,
    RightWithdrawn,
    WaitForParts,
)
from jobs.models import Job, Step
from jobs.operations.base import Operation
from jobs.states import VERIFYING
from jobs.transitions import done

T = TypeVar("T")

log = logging.getLogger(__name__)


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
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class JobContext:
    """One claimed job in one worker."""

    def __init__(self, job: Job, operation: Operation, heartbeat: Heartbeat, resources: ExitStack) -> None:
        self.job = job
        self.operation = operation
        self.params: dict[str, Any] = job.params
        self._heartbeat = heartbeat
        self._resources = resources
        self.ledger = Ledger(job)
        self._hosts: dict[int, Host] = {}
        self._connections: dict[int, Hypervisor] = {}
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

    @property
    def is_taken_up(self) -> bool:
        """Whether an earlier attempt of this job may have begun what this one is to do."""
        return self.job.attempts > 1

    def home(self) -> Host:
        """The host the VM is on, as last derived. Raises OperationFailed when it is on none."""
        found = Host.objects.select_related("cluster").filter(vms=self.vm.pk).first()
        if found is None:
            raise OperationFailed("vm_nowhere", f"{self.vm} is on no host that Slipway knows.")
        return self._hosts.setdefault(found.pk, found)

    def host(self, key: int) -> Host:
        """A host with its cluster, as it was when this run first asked. Raises OperationFailed when it was removed."""
        if key not in self._hosts:
            found = Host.objects.select_related("cluster").filter(pk=key).first()
            if found is None:
                name = self.params.get("destination_name") if key == self.params.get("destination") else None
                raise OperationFailed("host_gone", f"{name or 'A host of this job'} was removed from the inventory.")
            self._hosts[key] = found
        return self._hosts[key]

    def on(self, host: Host) -> Hypervisor:
        """A connection to a host, kept until the job's run ends. Raises HostUnreachable, AccessDenied: in words of our
        own, since a job is shown to who sees its VM, and what the connection said names addresses.
        """
        connection = self._connections.get(host.pk)
        if connection is None or not connection.is_alive():
            try:
                connection = self._resources.enter_context(pool.borrow(host.uri))
            except (HostUnreachable, AccessDenied) as error:
                log.info("job %s: no connection to %s: %s", self.job.pk, host, error)
                said = "refused Slipway's credentials" if isinstance(error, AccessDenied) else "cannot be reached"
                raise type(error)(f"{host} {said}; its page says more to who operates it.") from error
            self._connections[host.pk] = connection
        return connection

    def hold(self, resource: AbstractContextManager[T]) -> T:
        """Enter something that is left when the job's run ends, however it ends."""
        return self._resources.enter_context(resource)

    # -- may it go on -------------------------------------------------------------------------------------------

    def check_rights(self) -> None:
        """Raise RightWithdrawn unless the requester still holds what the job needs."""
        try:
            gate.authorise(self.actor, self.operation.action, self.job.target)
            self.operation.rights(self)
        except Refused as error:
            raise self.withdrawn(error) from error

    def withdrawn(self, refused: Refused) -> RightWithdrawn:
        """What a refusal means for the job: its requester lost a right that they had when they asked."""
        return RightWithdrawn(
            f"{self.job.requester_name} no longer holds the right “{refused.action.label}” that this job needs."
        )

    def is_cancelled(self) -> bool:
        """Whether a cancel was asked for (known within one heartbeat)."""
        if self._heartbeat.lost.is_set():
            raise Fenced(f"{self.job} was taken over")
        return self._heartbeat.cancel_requested.is_set()

    def check_lease(self) -> None:
        """Raise Fenced if the lease ran out by this worker's own clock, which goes on while the process is stopped: for
        right before a call that comes some time after its intent, when another worker may have taken up the job.
        """
        renewed_at = max(self._heartbeat.renewed_at, self.ledger.committed_at)
        if self._heartbeat.lost.is_set() or time.monotonic() - renewed_at > settings.SLIPWAY_LEASE_SECONDS:
            raise Fenced(f"the lease of {self.job} ran out")

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
    def step(self, name: str, title: str, *, shown_at_once: bool = True) -> Iterator[Step]:
        """A named part of the job; set `step.detail` inside to say what was found. A failure marks it failed.

        One that begins with an effect need not be `shown_at_once`: it is committed with the effect's intent.
        """
        steps = self.ledger.steps
        step = steps.open(self._phase_of_steps, name, title)
        if shown_at_once:
            self.ledger.commit()
        try:
            yield step
        except WaitForParts:
            steps.keep(step)  # it goes on with the next pass
            raise
        except BaseException as error:
            steps.close(step, Step.State.FAILED, str(error))
            raise
        steps.close(step, Step.State.DONE, step.detail)

    def verdicts(self, findings: Sequence[Verdict]) -> None:
        """Note many checks at once, then fail the job with the first that did not hold (OperationFailed)."""
        steps = self.ledger.steps
        for verdict in findings:
            step = steps.open(self._phase_of_steps, verdict.name, verdict.title)
            state = Step.State.DONE if verdict.holds else Step.State.FAILED
            steps.close(step, state, verdict.found if verdict.holds else verdict.why)
        for verdict in findings:
            if not verdict.holds:
                raise OperationFailed(verdict.code, verdict.why)

    def note(self, **facts: Any) -> None:
        """Add to the journal; it is committed before the next effect."""
        self.ledger.note(journal=self.job.journal | facts)

    def journal(self, **facts: Any) -> None:
        """Add to the journal and commit it now: what recovery will need although no effect follows. Raises Fenced."""
        self.note(**facts)
        self.ledger.commit()

    def progress(self, phase: str, percent: int | None = None, *, shown_at_once: bool = True, **facts: Any) -> None:
        """Show where the job is. Percent never goes back, and stays below 100 until the job is verified."""
        shown = max(self.job.percent, min(percent if percent is not None else self.job.percent, 99))
        now = time.monotonic()
        if phase == self.job.phase and now - self._progress_written < PROGRESS_EVERY:
            return
        self._progress_written = now
        self.ledger.note(phase=phase, percent=shown, progress=self.job.progress | facts | {"phase": phase})
        if shown_at_once:
            self.ledger.commit()

    def done(self) -> None:
        """The work is done and only looked at from here on: what the job is a part of may go on with another. Raises
        Fenced.
        """
        if self.job.phase != VERIFYING:
            self.progress(VERIFYING, 99, shown_at_once=False)
            self.ledger.commit(then=partial(done, self.job))

    def result(self, **facts: Any) -> None:
        """Add to the job's result."""
        self.ledger.note(result=self.job.result | facts)

    def effect(
        self, call: str, do: Callable[[], T], *, host: Host, journal: Mapping[str, Any] = _NOTHING, **detail: Any
    ) -> T:
        """Do something to a hypervisor: rights and fence checked, the intent committed before together with the
        journal, the outcome told with the next commit.

        Raises what `do` raises; RightWithdrawn, Fenced, when it may not be done any more.
        """
        self.check_rights()
        self.note(**journal)
        return self.undo_effect(call, do, host=host, **detail)

    def undo_effect(self, call: str, do: Callable[[], T], *, host: Host, **detail: Any) -> T:
        """An effect that restores what the job found: also done when the requester's right is gone meanwhile. Nothing
        is done to a VM that two hosts ran at once: raises OutcomeUnknown.
        """
        self._refuse_stopped()
        facts = {"call": call, "host": host.name, **detail}
        self.ledger.commit(then=self._event(EventAction.EFFECT_INTENT, Outcome.INTENT, facts))
        try:
            value = do()
        except HypervisorError as error:
            outcome = Outcome.UNKNOWN if error.retryable else Outcome.FAILED
            self._tell(EventAction.EFFECT_OUTCOME, outcome, facts | {"error": error.code, "message": str(error)})
            raise
        except Exception as error:
            outcome = Outcome.FAILED if isinstance(error, OperationFailed) else Outcome.UNKNOWN
            code = getattr(error, "code", type(error).__name__)
            self._tell(EventAction.EFFECT_OUTCOME, outcome, facts | {"error": code, "message": str(error)})
            raise
        self._tell(EventAction.EFFECT_OUTCOME, Outcome.OK, facts)
        return value

    def _refuse_stopped(self) -> None:
        """As things are now. The job is taken up again later, and goes on when a person has settled it."""
        vm = VM.objects.filter(pk=self.job.vm_id).first() if self.job.vm_id else None
        if vm is not None and vm.why_stopped:
            raise OutcomeUnknown(vm.why_stopped)

    # -- what others do for it ---------------------------------------------------------------------------------

    def submit_part(
        self, operation: str, target: Any, params: Mapping[str, Any], *, first: Callable[[], object] | None = None
    ) -> Job:
        """Have a part of this job done by a job of its own, in the name of the same requester; accepted together with
        what this one has to write, if it is still this worker's, and if `first` raises nothing in the same transaction.
        Raises what `job_submit` raises, Fenced.
        """
        from jobs.services import job_submit  # it knows every operation, those that call this included

        accepted: list[Job] = []

        def submit() -> None:
            if first is not None:
                first()
            request = {"operation": operation, "target": target, "params": params}
            accepted.append(job_submit(actor=self.actor, parent=self.job, **request))

        self.ledger.commit(then=submit)
        return accepted[0]

    def cancel_part(self, part: Job, why: str) -> None:
        """Have a part stopped; one that is over meanwhile is let be."""
        from jobs.services import job_cancel

        try:
            job_cancel(actor=SYSTEM, job=part, reason=why)
        except InvalidTransition:
            return

    def _tell(self, action: EventAction, outcome: Outcome, facts: dict[str, Any]) -> None:
        self.ledger.tell(self._event(action, outcome, facts))

    def _event(self, action: EventAction, outcome: Outcome, facts: dict[str, Any]) -> Callable[[], object]:
        return partial(record, action, target=self.job.target, outcome=outcome, detail=facts)
