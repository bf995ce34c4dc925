"""One round from beginning to end: prepare, migrate, strike, heal, wait, and hold everybody to their word."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import libvirt

from bench.crash.ground import Ground, until
from bench.crash.history import ABSENT, FINAL, RUNNING, Before, Told, course, violations
from bench.crash.moments import effects_of, wait_for_moment
from bench.crash.rounds import Fault, Moment, Round
from bench.crash.striking import heal, strike
from bench.crash.watching import Watch

#: After this long the job is given up, in seconds.
GIVE_UP = 180.0
#: The hosts are watched for so long after the end, for what comes late.
AFTERWARDS = 1.0
_QEMU = frozenset({Fault.SOURCE_QEMU_KILLED, Fault.DESTINATION_QEMU_KILLED})


def play(ground: Ground, plan: Round) -> dict[str, Any]:
    """Play a round. Returns its facts; `counts` is false when the fault met no step in flight."""
    began = time.monotonic()
    snapshots = ground.prepare(plan)
    prepared = time.monotonic()
    for name in (plan.source, plan.destination) if plan.link_mib else ():
        ground.lab.set_link_rate(name, plan.link_mib)
    with Watch(ground.uuid, list(ground.hosts.values())) as watch:
        job = _submit(ground, plan)
        hit, where = "", {}
        guest_killed = False
        if wait_for_moment(job, plan, watch, lambda: _switch(ground, plan, job)):
            guest_killed = plan.fault in _QEMU and _is_the_guests_own(plan, watch)
            hit = strike(ground, plan, job)
            where = _where_it_stood(job)
        struck = time.monotonic()
        counts = bool(hit) and where["state"] not in FINAL
        time.sleep(plan.hold if hit else 0)
        heal(ground, plan)
        healed = time.monotonic()
        until(lambda: _state(job) in FINAL, seconds=GIVE_UP)
        over, at_end = time.monotonic(), _row(job)
        time.sleep(AFTERWARDS)
    ground.mend()
    before = Before(plan.source, plan.destination, snapshots, plan.autostart, guest_killed)
    told = replace(_told(ground, job, over - healed), changed_after_end=_row(job) != at_end)
    standings = ground.settled()
    found = violations(watch.history(), standings, told, before) if hit else []
    return {
        "number": plan.number,
        "round": asdict(plan),
        "counts": counts,
        "hit": hit,
        "stood": where,
        "guest_killed": guest_killed,
        "job": str(job.pk),
        "end": {"state": told.job_state, "code": told.code, "message": _message(job)},
        "over_after_heal_s": round(over - healed, 1),
        "seconds": {
            "prepare": round(prepared - began, 1),
            "to_strike": round(struck - prepared, 1),
            "all": round(time.monotonic() - began, 1),
        },
        "violations": found,
        "course": course(watch.history()),
        "standings": {name: asdict(one) for name, one in standings.items()},
        "told": asdict(told),
    }


def _submit(ground: Ground, plan: Round) -> Any:
    from jobs.services import job_submit

    params = {"destination": plan.destination, "policy": plan.policy, "bandwidth_mib": plan.bandwidth_mib}
    return job_submit(actor=ground.user, operation="vm.migrate", target=ground.vm(), params=params)


def _switch(ground: Ground, plan: Round, job: Any) -> None:
    """Ask for post-copy where the round is about it."""
    if plan.goes_post_copy:
        from jobs.controls import control_ask

        control_ask(actor=ground.user, job=job, verb="start_post_copy")


def _is_the_guests_own(plan: Round, watch: Watch) -> bool:
    """Whether the QEMU that is about to be killed is the one that the guest lives in: in post-copy that is both."""
    source = watch.last(plan.source)
    if plan.fault is Fault.SOURCE_QEMU_KILLED:
        return source is not None and source.state != ABSENT
    there = watch.last(plan.destination)
    in_post_copy = source is not None and source.reason in (
        libvirt.VIR_DOMAIN_PAUSED_POSTCOPY, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED
    )  # fmt: skip
    switching = plan.moment is Moment.STOP_AND_COPY
    return in_post_copy or switching or (there is not None and there.state == RUNNING)


def _where_it_stood(job: Any) -> dict[str, Any]:
    """What the job's rows say right after the strike."""
    from jobs.models import Job

    facts = Job.objects.values("state", "phase", "percent").get(pk=job.pk)
    call, kind, _host = (effects_of(job) or [("", "", "")])[-1]
    step = job.steps.order_by("-position").values_list("name", flat=True).first()
    return {**facts, "effect": f"{kind} {call}".strip(), "step": step or ""}


def _state(job: Any) -> str:
    from jobs.models import Job

    return str(Job.objects.values_list("state", flat=True).get(pk=job.pk))


def _row(job: Any) -> dict[str, Any]:
    from jobs.models import Job

    return Job.objects.values().get(pk=job.pk)


def _message(job: Any) -> str:
    job.refresh_from_db()
    return str(job.error_message) + (f"\n{job.traceback}" if job.traceback else "")


def _told(ground: Ground, job: Any, seconds_after_heal: float) -> Told:
    from audit.models import AuditEvent
    from audit.verify import verify
    from jobs.models import Job, JobLock

    row = Job.objects.get(pk=job.pk)
    vm = ground.vm()
    ends = AuditEvent.objects.filter(object_id=str(job.pk), action__in=[f"job.{state}" for state in FINAL])
    report = verify()
    return Told(
        job_state=row.state,
        code=row.error_code,
        locks=JobLock.objects.filter(job=row).count(),  # canaries may fly, and hold theirs
        ends=ends.count(),
        unfinished=row.steps.filter(state="running").count(),
        effects=effects_of(job),
        shown_state=vm.power_state,
        shown_host=vm.host.name if vm.host else "",
        seconds_after_heal=seconds_after_heal,
        chain="" if report.ok else str(report.first_break),
    )
