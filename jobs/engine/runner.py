"""Running one job: claim it, take it through its phases, and bring it to an end whatever happens."""

from __future__ import annotations

import logging
import os
import socket
import threading
import traceback
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DataError, IntegrityError, OperationalError
from django.utils import timezone

from access.errors import Refused
from access.gate import SYSTEM
from audit.context import acting, acting_as
from hypervisor.errors import HostUnreachable, HypervisorError, OperationTimeout
from jobs.approvals import refuse_other_than_approved
from jobs.engine.context import JobContext
from jobs.engine.heartbeat import Heartbeat
from jobs.errors import CancelRequested, Fenced, OperationFailed, OutcomeUnknown, RightWithdrawn, WaitForParts
from jobs.models import Job
from jobs.operations.registry import operation_named
from jobs.states import TERMINAL, State
from jobs.transitions import advance, release, wait

log = logging.getLogger(__name__)

#: A job whose outcome stays unknown is taken up again after 2, 4, 8 ... seconds, at most this long apart,
LONGEST_PAUSE = timedelta(seconds=60)
#: and given up when it has been unknown for this long: it then fails, saying that a person must look.
GIVE_UP_AFTER = timedelta(hours=1)
#: An attempt that lasted this long before it became unknown again had got on: the hour begins anew.
HAD_GOT_ON = timedelta(minutes=5)
#: A job that has lost this many workers is what kills them.
MOST_ATTEMPTS = 100


def worker_name() -> str:
    """This worker, as shown on the job: host, process, thread."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_native_id()}"


def run(job_id: UUID) -> None:
    """Run a queued job to its end. Does nothing for a job that is not queued, or that somebody else claims first."""
    job = Job.objects.select_related("requested_by", "vm", "approval").filter(pk=job_id).first()
    if job is None or job.state != State.QUEUED:
        return
    with acting_as(job.requested_by or SYSTEM, via="job", request_id=job.request_id), acting(job_id=str(job.pk)):
        try:
            advance(job, State.RUNNING, worker=worker_name(), phase="going on" if job.journal else "checking")
        except Fenced:
            return
        job.refresh_from_db(fields=["cancel_requested_at"])  # it may have been asked for while this claimed the job
        with Heartbeat(job) as heartbeat, ExitStack() as resources:
            context = JobContext(job, operation_named(job.operation), heartbeat, resources)
            try:
                _carry_out(context)
            except Fenced as error:
                log.warning("job %s: %s; this worker lets it go", job.pk, error)
                context.ledger.tell_the_rest()
            except OperationalError as error:
                # A deadlock's victim, or the database is away. Nothing of that transaction stands, and what this worker
                # has in mind is no longer what is written: as if it had died, the sweeper finds the job.
                log.warning("job %s: the database did not carry a transaction through: %s", job.pk, error)
                with suppress(OperationalError):
                    context.ledger.tell_the_rest()


def _carry_out(context: JobContext) -> None:
    """The phases, and what each way of failing means."""
    job = context.job
    try:
        _phases(context)
    except (Fenced, OperationalError):
        raise
    except RightWithdrawn as error:
        _end(context, State.CANCELLED, error.code, str(error), error)
    except Refused as error:
        withdrawn = context.withdrawn(error)
        _end(context, State.CANCELLED, withdrawn.code, str(withdrawn), withdrawn)
    except CancelRequested as error:
        _end(context, State.CANCELLED, error.code, str(error), error)
    except WaitForParts as pause:
        context.ledger.commit(then=partial(wait, job, news=pause.news, not_before=pause.until, phase=job.phase))
    except OutcomeUnknown as error:
        _take_up_later(context, str(error))
    except (HostUnreachable, OperationTimeout) as error:
        if job.journal.get("began"):
            _take_up_later(context, str(error))
        else:
            _end(context, State.FAILED, error.code, str(error), error)
    except OperationFailed as error:
        _end(context, State.FAILED, error.code, str(error), error)
    except HypervisorError as error:
        _end(context, State.FAILED, error.code, str(error), error)
    except Exception as error:
        log.exception("job %s failed by a bug", job.pk)
        _end(context, State.ERRORED, "internal_error", f"Slipway failed: {type(error).__name__}.", error)


def _phases(context: JobContext) -> None:
    operation, job = context.operation, context.job
    if job.attempts > MOST_ATTEMPTS:
        raise OutcomeUnknown(f"{job.attempts} workers were lost over this job.")
    began = bool(job.journal.get("began"))
    if not began:
        context.check_cancel()
        context.check_rights()
        refuse_other_than_approved(job)
        context.begin_phase("precheck")
        operation.precheck(context)
        context.check_cancel()
        context.note(began=True)
    context.begin_phase("execute")
    operation.execute(context)
    context.begin_phase("verify")
    context.done()
    operation.verify(context)
    _release(context, State.SUCCEEDED, phase="done", percent=100, detail={"result": job.result})


def _end(context: JobContext, state: State, code: str, message: str, error: BaseException) -> None:
    """Roll back what was begun, then end the job with its reason."""
    job = context.job
    trace = "".join(traceback.format_exception(error)) if state is State.ERRORED else ""
    if job.journal.get("began"):
        context.begin_phase("rollback")
        try:
            message = f"{message} {context.operation.rollback(context, error)}".strip()
        except (Fenced, OperationalError):
            raise
        except (HostUnreachable, OperationTimeout, OutcomeUnknown) as problem:
            _take_up_later(context, f"{message} Undoing it is not finished: {problem}")
            return
        except Exception as problem:  # must not hide why the job failed
            log.exception("job %s: rolling back failed", job.pk)
            message = f"{message} Undoing it failed too: {problem}"
            trace += "\nRolling back:\n" + traceback.format_exc()
    end: dict[str, Any] = {"error_code": code, "error_message": message, "traceback": trace, "phase": "done"}
    _release(context, state, reason=message, detail={"code": code, "result": job.result}, **end)


def _take_up_later(context: JobContext, why: str) -> None:
    """Leave the job to the sweeper: locks stay, and it resumes from its journal when the host answers again."""
    job = context.job
    now = timezone.now()
    if now - _unknown_since(context, now) > GIVE_UP_AFTER or job.attempts > MOST_ATTEMPTS:
        what = "the VM on its hosts" if job.vm_id else "the host and its VMs"
        message = f"The outcome could not be established: {why} Look at {what} before working on it."
        end = {"error_code": "outcome_unknown", "error_message": message, "phase": "done"}
        _release(context, State.FAILED, reason=message, **end)
        return
    pause = min(timedelta(seconds=2**job.attempts), LONGEST_PAUSE)
    _release(context, State.LOST, reason=why, not_before=now + pause, error_message=why)


def _unknown_since(context: JobContext, now: datetime) -> datetime:
    """Since when the outcome is unknown without a break, noted for the next attempt."""
    noted = context.job.journal.get("unknown")
    since, last = map(datetime.fromisoformat, noted) if noted else (now, now)
    if now - last > HAD_GOT_ON:
        since = now
    context.note(unknown=[since.isoformat(), now.isoformat()])
    return since


def _release(context: JobContext, state: State, **changes: Any) -> None:
    """The job's last words and its new state, in one transaction. Raises Fenced.

    What the database does not take is left out: a job without an end would be worse.
    """
    end = partial(release, context.job, state, **changes)
    if state in TERMINAL:
        context.ledger.steps.abandon()
    try:
        context.ledger.commit(then=end)
    except (DataError, IntegrityError):
        log.exception("job %s: its last steps could not be written", context.job.pk)
        context.ledger.tell_the_rest()
        end()
