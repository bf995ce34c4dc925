"""What is seen of a migration while it runs: phases from the hosts' events, progress and convergence from the
source's figures.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from hypervisor.echoes import Echoes, Silence
from hypervisor.errors import GuestNotFound, GuestStateInvalid, HypervisorError, OperationTimeout
from hypervisor.protocol import Hypervisor
from hypervisor.types import Activity, EventKind, GuestEvent, MigrationProgress, StateReason
from inventory.models import Host
from jobs.models import Control
from jobs.operations.migrate.convergence import SWITCHES_WITHIN, Do, Standing, next_move
from jobs.operations.migrate.drawing import Course
from jobs.operations.migrate.obeying import ANY_PAUSE_MS, Obedience
from jobs.operations.migrate.passes import Passes, Sample
from jobs.operations.migrate.policies import Policy

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

log = logging.getLogger(__name__)

#: Pause between two readings, in seconds.
READ_EVERY = 0.1
#: An abort that the hypervisor has not followed within this time is asked for again.
ABORT_AGAIN_AFTER = 10.0
#: What the host does not do (its QEMU is busy, say) is asked of it again after so many seconds; once it has failed at
#: that so often on end, the migration is stopped: its policy cannot bring it to an end.
STEERS_AGAIN_AFTER, MOST_FAILURES = 5.0, 6
#: The call ends so soon after the source's part of the work, in seconds: 2 were seen, on a busy machine 4.
CALL_COMES_BACK_WITHIN = 10.0
#: A migration that an earlier worker started is followed so long by the source's figures alone, in seconds.
FOLLOWED_BLINDLY = 2.0
#: The points of its picture are written so often, in seconds.
COURSE_SAVED_EVERY = 1.0


@dataclass
class Trace:
    """Moments of one migration, as they were seen."""

    started_at: datetime = field(default_factory=timezone.now)
    started: float = field(default_factory=time.monotonic)
    copying: float | None = None
    suspended: float | None = None
    resumed: float | None = None
    postcopy: float | None = None
    source_gone: float | None = None
    ended: float | None = None
    echoes: Echoes | None = None

    def silence(self) -> Silence:
        """End the measuring from outside, if there was any; what it found."""
        if self.echoes is None:
            return Silence(None, "no address to measure at is known")
        return self.echoes.stop()

    def phases(self) -> list[dict[str, Any]]:
        """The phases that were seen, each with its length in seconds."""
        marks = [
            ("preparing", self.started, self.copying or self.suspended),
            ("warm-up", self.copying, self.suspended),
            ("stop-and-copy", self.suspended, self.resumed),
            ("post-copy", self.postcopy, self.ended if self.postcopy else None),
            ("finishing", self.resumed, self.ended),
        ]
        return [
            {"phase": name, "seconds": round(max(0.0, until - since), 3)}
            for name, since, until in marks
            if since is not None and until is not None
        ]

    @property
    def event_gap_ms(self) -> int | None:
        """Between “suspended” on the source and “resumed” on the destination, by this worker's clock."""
        if self.suspended is None or self.resumed is None:
            return None
        return round(max(0.0, self.resumed - self.suspended) * 1000)


class Listener:
    """Follows both hosts' events about one VM, from before the start until stopped."""

    def __init__(self, uuid: str, source: Hypervisor, destination: Hypervisor, trace: Trace) -> None:
        self.trace = trace
        self._uuid = uuid
        self._subscriptions = [
            source.watch(self._on_source, lambda reason: None, lifecycle_only=True),
            destination.watch(self._on_destination, lambda reason: None, lifecycle_only=True),
        ]

    def stop(self) -> None:
        """Listen no longer."""
        for subscription in self._subscriptions:
            subscription.stop()

    def _on_source(self, event: GuestEvent) -> None:
        if event.uuid != self._uuid:
            return
        if event.kind is EventKind.SUSPENDED:
            self.trace.suspended = self.trace.suspended or event.monotonic
        elif event.kind is EventKind.RESUMED:
            self.trace.suspended = None  # it failed after the pause, and runs on here
        elif event.kind is EventKind.STOPPED:
            self.trace.source_gone = event.monotonic

    def _on_destination(self, event: GuestEvent) -> None:
        if event.uuid == self._uuid and event.kind is EventKind.RESUMED:
            self.trace.resumed = self.trace.resumed or event.monotonic


class Monitor:
    """Reads the source's figures until told that the migration ended; shows them, and makes it converge or stops it."""

    def __init__(self, context: JobContext, source: Host, policy: Policy, trace: Trace) -> None:
        self.context = context
        self.source = source
        self.policy = policy
        self.trace = trace
        self.passes = Passes()
        self.last = MigrationProgress(activity=Activity.NONE)
        self.standing = Standing(policy.first_downtime_ms)
        self.verdict = ""  # why it was stopped, when the policy stopped it
        self._abort_asked: float | None = None
        self._forced_at: float | None = None
        self._steers_from = 0.0
        self._failures: list[str] = []  # of steering, since it last went well
        self._obedience = Obedience(context, source)
        self._course = Course(context.job)
        self._course_saved = 0.0

    def follow(self, ended: threading.Event) -> None:
        """Until `ended` is set: the call came back. Raises OperationTimeout when it does not, although the source has
        long had nothing to do with it any more, or a post-copy broke off: a destination whose QEMU hangs keeps it.
        """
        left_at: float | None = None
        while not ended.wait(READ_EVERY):
            goes_on = self.read()
            if goes_on:
                self._react()
            if self.passes.now is None or (goes_on and not self._broke_off()):
                left_at = None
            elif left_at is None:
                left_at = time.monotonic()
            elif time.monotonic() - left_at > CALL_COMES_BACK_WITHIN:
                self._keep_course(at_once=True)
                raise OperationTimeout("The migration is over or broken, and the host does not say how it ended.")
        self._keep_course(at_once=True)

    def _broke_off(self) -> bool:
        """Whether the source says so of a post-copy."""
        if not self.standing.in_postcopy:
            return False
        try:
            state = self.context.on(self.source).guest_state(self.context.uuid)
        except HypervisorError:
            return False
        return state.reason is StateReason.POSTCOPY_FAILED

    def adopt(self, *, in_postcopy: bool) -> bool:
        """Follow a migration that an earlier worker started: until the source has no such job any more, or it is time
        to ask both hosts again (a post-copy that broke off keeps its job). Returns whether it had one.
        """
        if in_postcopy and not self.standing.in_postcopy:
            self._switched_to_postcopy()
        seen, until = False, time.monotonic() + FOLLOWED_BLINDLY
        while time.monotonic() < until and self.read():
            seen = True
            self._react()
            time.sleep(READ_EVERY)
        self._keep_course(at_once=True)
        return seen

    def _react(self) -> None:
        """After a reading: what people ask for, what the policy says, and a cancel."""
        self._obey()
        is_cancelled = self.context.is_cancelled()
        if time.monotonic() < self._steers_from:
            return
        try:
            if is_cancelled:
                self.abort("cancelled")
            elif self._forced_at is None or time.monotonic() - self._forced_at > SWITCHES_WITHIN:
                self._steer()
        except HypervisorError as error:  # the migration goes on without it, and is followed as before
            log.warning("job %s: its migration could not be steered: %s", self.context.job.pk, error)
            self._failures.append(str(error))
            self._steers_from = time.monotonic() + STEERS_AGAIN_AFTER

    def _obey(self) -> None:
        is_switching = self.standing.in_postcopy or self.trace.suspended is not None
        for verb in self._obedience.obey(is_switching=is_switching):
            if verb is Control.Verb.FORCE_COMPLETION:
                self.standing.downtime_ms, self._forced_at = ANY_PAUSE_MS, time.monotonic()
            elif verb is Control.Verb.START_POST_COPY:
                self._switched_to_postcopy()

    def set_limit(self) -> None:
        """Set the policy's first limit of the pause, which an earlier migration of the same QEMU may have raised. A
        stricter limit than QEMU's own stands since before the call; this one is in time while the destination starts.
        """
        try:
            self.context.on(self.source).migration_set_downtime(self.context.uuid, self.policy.first_downtime_ms)
        except HypervisorError:
            return  # over already, or busy: what stands is QEMU's own limit, or the last one that a policy set

    def read(self) -> bool:
        """One reading, shown; whether the source still works on it."""
        try:
            progress = self.context.on(self.source).migration_progress(self.context.uuid)
        except GuestNotFound:
            return False
        except HypervisorError:
            if not self.context.on(self.source).is_alive():
                raise
            return True  # busy at the switchover: ask again
        if progress.activity is not Activity.MIGRATION_OUT:
            return False
        self.last = progress
        if progress.memory_total_bytes:
            self._sample(progress)
            self._course.add(progress, self.standing.downtime_ms)
            self._keep_course()
        self._show()
        return True

    def _sample(self, progress: MigrationProgress) -> None:
        now = time.monotonic()
        self.trace.copying = self.trace.copying or now
        # The time that the disks took before is no part of what the memory takes.
        since = self.trace.copying if progress.disk_total_bytes else self.trace.started
        self.passes.add(
            Sample(
                at=now - since,
                iteration=progress.iteration,
                remaining=progress.memory_remaining_bytes,
                bps=progress.memory_bps,
                dirty_bps=progress.dirty_bps,
                throttle=progress.throttle_percent,
            )
        )

    def _keep_course(self, *, at_once: bool = False) -> None:
        """Write down the picture's points once in a while, and at the end."""
        now = time.monotonic()
        if at_once or now - self._course_saved >= COURSE_SAVED_EVERY:
            self._course_saved = now
            self.context.ledger.commit(then=self._course.save)

    @property
    def phase(self) -> str:
        """The phase now, in the field's terms."""
        if self.standing.in_postcopy:
            return "post-copy"
        if self.trace.suspended is not None:
            return "stop-and-copy"
        if self.passes.now:
            return "warm-up"
        return "disk copy" if self.last.disk_remaining_bytes else "preparing"

    def _show(self) -> None:
        progress = self.last
        self.context.progress(
            self.phase,
            self.passes.percent(progress.memory_total_bytes),
            remaining_bytes=progress.memory_remaining_bytes,
            total_bytes=progress.memory_total_bytes,
            disk_remaining_bytes=progress.disk_remaining_bytes,
            disk_total_bytes=progress.disk_total_bytes,
            bps=progress.memory_bps,
            dirty_bps=progress.dirty_bps,
            iteration=progress.iteration,
            throttle_percent=progress.throttle_percent,
            expected_downtime_ms=progress.downtime_ms,
            downtime_limit_ms=self.standing.downtime_ms,
            elapsed_ms=progress.elapsed_ms,
        )

    def _steer(self) -> None:
        """Do what the policy says."""
        if self.trace.suspended is not None:
            return  # the guest stands still for the switch, which is let through
        if len(self._failures) >= MOST_FAILURES:
            self.abort(f"The host failed {MOST_FAILURES} times at what would end the migration: {self._failures[-1]}")
            return
        standing = self.standing
        move = next_move(self.passes, self.policy, standing, memory_bytes=self.last.memory_total_bytes)
        if move.do in (Do.RAISE_DOWNTIME, Do.SWITCH):
            self._set_limit(move.downtime_ms)
            if move.do is Do.SWITCH:
                standing.switch_asked_at = standing.raised_at
        elif move.do is Do.POSTCOPY:
            connection, uuid = self.context.on(self.source), self.context.uuid
            self.context.undo_effect(
                "migration_start_postcopy", lambda: connection.migration_start_postcopy(uuid), host=self.source
            )
            self._switched_to_postcopy()
        elif move.do is Do.ABORT:
            self.abort(move.sentence)

    def _set_limit(self, milliseconds: int) -> None:
        connection, uuid = self.context.on(self.source), self.context.uuid
        self.context.undo_effect(
            "migration_set_downtime",
            lambda: connection.migration_set_downtime(uuid, milliseconds),
            host=self.source,
            milliseconds=milliseconds,
        )
        self._failures.clear()
        self.standing.downtime_ms = milliseconds
        self.standing.raised_at = self.passes.now.at if self.passes.now else 0.0

    def _switched_to_postcopy(self) -> None:
        self.standing.in_postcopy, self.trace.postcopy = True, time.monotonic()

    def abort(self, why: str) -> None:
        """Ask the source to cancel; never once the guest has stopped for the switch, where it must be let through."""
        now = time.monotonic()
        if self.standing.in_postcopy or self.trace.suspended is not None:
            return
        if self._abort_asked is not None and now - self._abort_asked < ABORT_AGAIN_AFTER:
            return
        self._abort_asked = now
        self.verdict = self.verdict or why
        connection, uuid = self.context.on(self.source), self.context.uuid
        try:
            self.context.undo_effect(
                "migration_abort", lambda: connection.migration_abort(uuid), host=self.source, why=why
            )
        except (GuestStateInvalid, GuestNotFound):
            return  # it has just ended by itself: the truth decides
