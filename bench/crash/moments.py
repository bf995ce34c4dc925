"""Waiting for the moment to strike: by the job's own rows, by the record, and by what the hosts say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import libvirt

from bench.crash.history import FINAL, RUNNING
from bench.crash.rounds import Moment, Round
from bench.crash.watching import LOOK_CLOSELY, LOOK_EVERY, Watch

#: A moment that has not come by now does not come, in seconds.
PATIENCE = 60.0
_ASK_EVERY = 0.005
_PAUSED_REASONS = {
    Moment.STOP_AND_COPY: libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
    Moment.POST_COPY: libvirt.VIR_DOMAIN_PAUSED_POSTCOPY,
}
_SHORT = frozenset({*_PAUSED_REASONS, Moment.IN_POST_COPY})


def wait_for_moment(job: Any, plan: Round, watch: Watch, at_warm_up: Callable[[], None]) -> bool:
    """Wait until the round's moment is there; False when the job was over before. `at_warm_up` is called once when the
    copy has begun.
    """
    from jobs.models import Job

    deadline = time.monotonic() + PATIENCE
    asked_for = False
    watch.every = LOOK_CLOSELY if plan.moment in _SHORT else LOOK_EVERY
    try:
        while time.monotonic() < deadline:
            facts = Job.objects.values("state", "phase", "percent", "progress").get(pk=job.pk)
            if facts["state"] in FINAL:
                return False
            if facts["phase"] == "warm-up" and not asked_for:
                asked_for = True
                at_warm_up()
            if _is_there(job, plan, facts, watch):
                if plan.moment is Moment.IN_POST_COPY:
                    time.sleep(3 * plan.part)
                return True
            time.sleep(_ASK_EVERY)
    finally:
        watch.every = LOOK_EVERY
    return False


def _is_there(job: Any, plan: Round, facts: dict[str, Any], watch: Watch) -> bool:
    kind, _, what = plan.moment.value.partition(" ")
    if plan.moment in _PAUSED_REASONS:
        said = watch.last(plan.source)
        return said is not None and (said.state, said.reason) == ("paused", _PAUSED_REASONS[plan.moment])
    if plan.moment is Moment.IN_POST_COPY:
        there = watch.last(plan.destination)
        return there is not None and (there.state, there.reason) == (RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY)
    if plan.moment is Moment.COPIED:
        return facts["phase"] == "warm-up" and _copied(facts["progress"]) >= plan.part
    if kind == "phase":
        return bool(facts["phase"] == what)
    if kind == "step":
        return bool(job.steps.filter(name=what).exists())
    return (what, kind) in [effect[:2] for effect in effects_of(job)]


def _copied(progress: dict[str, Any]) -> float:
    total = progress.get("total_bytes") or 0
    return 1 - progress.get("remaining_bytes", 0) / total if total else 0.0


def effects_of(job: Any) -> list[tuple[str, str, str]]:
    """The record's intents and outcomes of the job's effects, in their order: (call, "intent" or "outcome", host)."""
    from audit.events import EventAction
    from audit.models import AuditEvent

    kinds = {EventAction.EFFECT_INTENT.value: "intent", EventAction.EFFECT_OUTCOME.value: "outcome"}
    events = AuditEvent.objects.filter(job_id=str(job.pk), action__in=kinds).order_by("pk")
    return [
        (detail["call"], kinds[action], detail["host"]) for action, detail in events.values_list("action", "detail")
    ]
