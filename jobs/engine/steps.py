"""The steps of a job: kept in memory by the worker that owns it, written by its ledger."""

from __future__ import annotations

from django.utils import timezone

from jobs.models import Job, Step
from jobs.storable import storable

_CHANGING = ("title", "phase", "state", "detail", "finished_at")
_LONGEST_DETAIL = 10_000


class Steps:
    """A job's steps by name, and which of them have changed since they were last written."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._known: dict[str, Step] | None = None
        self._stored: set[str] = set()
        self._changed: dict[str, Step] = {}

    def open(self, phase: str, name: str, title: str) -> Step:
        """Begin a step; one that an earlier attempt of the job had begun keeps its place and its beginning."""
        known = self._load()
        step = known.get(name)
        if step is None:
            place = max((other.position for other in known.values()), default=-1) + 1
            step = known[name] = Step(job=self._job, name=name, position=place, started_at=timezone.now())
        step.title, step.phase, step.state, step.detail, step.finished_at = title, phase, Step.State.RUNNING, "", None
        self._changed[name] = step
        return step

    def close(self, step: Step, state: Step.State, detail: str) -> None:
        """End a step with what was found."""
        step.state, step.finished_at = state, timezone.now()
        step.detail = storable(detail[:_LONGEST_DETAIL])
        self._changed[step.name] = step

    def keep(self, step: Step) -> None:
        """Leave a step open, with what was found so far."""
        step.detail = storable(step.detail[:_LONGEST_DETAIL])
        self._changed[step.name] = step

    def abandon(self) -> None:
        """End what an earlier attempt of the job left open and no later one entered again."""
        for step in self._load().values():
            if step.state == Step.State.RUNNING:
                self.close(step, Step.State.FAILED, f"{step.detail} The worker was lost here.".strip())

    def write(self) -> None:
        """Write what has changed, within the transaction in progress; `written()` says that it was committed."""
        new = [step for name, step in self._changed.items() if name not in self._stored]
        for step in new:
            step.pk = None  # a key that was given by a transaction which then failed
        Step.objects.bulk_create(new)
        for name, step in self._changed.items():
            if name in self._stored:
                step.save(update_fields=_CHANGING)

    def written(self) -> None:
        """The transaction has committed."""
        self._stored |= self._changed.keys()
        self._changed = {}

    def _load(self) -> dict[str, Step]:
        if self._known is None:
            first = self._job.attempts == 1
            self._known = {} if first else {step.name: step for step in self._job.steps.all()}
            self._stored = set(self._known)
        return self._known
