"""Controls of a running migration: asked for here, carried out by the worker that follows it."""

from __future__ import annotations

from django.db import transaction

from access import gate
from access.gate import SYSTEM, Actor, System
from audit.events import EventAction
from audit.record import record
from jobs.approvals import Work, authorise_decision, needs_approval
from jobs.errors import InvalidRequest, InvalidTransition, NotAdmitted
from jobs.models import BrokenGlass, Control, Job
from jobs.operations.migrate.surroundings import MIGRATE
from jobs.operations.registry import operation_named
from jobs.states import State

Verb = Control.Verb
#: In these phases the guest still runs at the source, and everything can be changed.
BEFORE_THE_SWITCH = frozenset({"checking", "going on", "starting", "finding out", "preparing", "warm-up"})
#: libvirt changes the speed of a disk's copy by another call, and QEMU has begun nothing that could be switched.
DISK_COPY = "disk copy"
LARGEST_BANDWIDTH_MIB = 1_000_000


@transaction.atomic
def control_ask(*, actor: Actor, job: Job, verb: str, value: int | None = None) -> Control:
    """Ask for a change of a migration that runs. Needs the right that the job needs.

    `value` is the new cap in MiB/s, 0 for none. Raises NotVisible, NotAllowed, InvalidRequest, InvalidTransition when
    no migration runs, NotAdmitted when it is too early or too late, for post-copy that was not armed at the start, and
    for what would go beyond an approval.
    """
    job = Job.objects.select_for_update(of=("self",)).get(pk=job.pk)
    gate.authorise(actor, operation_named(job.operation).action, job.target)
    _check(verb, value)
    if job.operation != MIGRATE or job.state != State.RUNNING:
        raise InvalidTransition("Only a migration that runs can be controlled.")
    if job.phase == DISK_COPY:
        raise NotAdmitted("too_early", "The disks are being copied; what follows can be changed once memory is.")
    if job.phase not in BEFORE_THE_SWITCH:
        raise NotAdmitted("too_late", f"The migration is past the point where that can be changed ({job.phase}).")
    if verb == Verb.START_POST_COPY and job.params.get("policy") != "assured":
        raise NotAdmitted("not_armed", "Post-copy has to be allowed from the start, by the policy “assured”.")
    if verb == Verb.FORCE_COMPLETION:
        refuse_beyond_approval(actor, job)
    by = None if isinstance(actor, System) else actor
    asked = Control.objects.create(job=job, verb=verb, value=value, requested_by=by, requester_name=actor.username)
    record(EventAction.JOB_CONTROLLED, target=job, actor=actor, detail={"verb": verb, "value": value})
    return asked


def _check(verb: str, value: int | None) -> None:
    """Whether it makes sense by itself. Raises InvalidRequest."""
    if verb not in Verb.values:
        raise InvalidRequest(f"There is no control “{verb[:40]}”.", field="verb")
    if (verb == Verb.SET_BANDWIDTH) != (value is not None):
        raise InvalidRequest("A bandwidth goes with the change of bandwidth, and with nothing else.", field="value")
    if value is not None and not 0 <= value <= LARGEST_BANDWIDTH_MIB:
        raise InvalidRequest(f"A bandwidth is from 0 (no cap) to {LARGEST_BANDWIDTH_MIB} MiB/s.", field="value")


def refuse_beyond_approval(actor: Actor, job: Job) -> None:
    """What was approved has a longest pause. Whoever lets it be any is a second person again: one who may approve. A
    job that went ahead without approval is not bound. Raises NotVisible, NotAllowed, NotAdmitted.
    """
    asked: Actor = job.requested_by or SYSTEM
    alone = BrokenGlass.objects.filter(job__in=filter(None, (job.pk, job.parent_id)))
    if not needs_approval(asked, Work.of(job), job.parent) or alone.exists():
        return
    authorise_decision(actor, job)
    if isinstance(actor, System) or job.requested_by_id == actor.pk:
        raise NotAdmitted(
            "own_request", "What was approved has a longest pause; somebody else who may approve has to lift that."
        )
