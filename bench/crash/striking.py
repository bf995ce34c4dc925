"""The faults, done and undone, on the lab and on Slipway's workers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bench.crash.ground import WORKERS, Ground
from bench.crash.rounds import Fault, Round
from lab.shell import LabError


def strike(ground: Ground, plan: Round, job: Any) -> str:
    """Let the fault happen; returns what was hit, "" when there was nothing to hit."""
    lab, where = ground.lab, _where(plan)
    match plan.fault:
        case Fault.WORKER_KILLED:
            return _signal_worker(ground, job, signal.SIGKILL)
        case Fault.WORKER_STOPPED:
            return _signal_worker(ground, job, signal.SIGSTOP)
        case Fault.WORKERS_KILLED:
            for name in WORKERS:
                ground.stack.kill(name)
            return "all workers"
        case Fault.SOURCE_QEMU_KILLED | Fault.DESTINATION_QEMU_KILLED:
            return f"QEMU on {where}" if lab.kill_qemu(where, ground.guest) else ""
        case Fault.SOURCE_DAEMON_KILLED | Fault.DESTINATION_DAEMON_KILLED:
            ground.hosts[where].kill_daemon()
            return f"libvirtd on {where}"
        case Fault.SOURCE_DAEMON_STOPPED | Fault.DESTINATION_DAEMON_STOPPED:
            ground.hosts[where].signal_daemon(signal.SIGSTOP)
            return f"libvirtd on {where}"
        case Fault.SOURCE_CUT | Fault.DESTINATION_CUT:
            lab.link_down(where)
            return f"the cables of {where}"


def heal(ground: Ground, plan: Round) -> None:
    """Undo the fault."""
    lab, where = ground.lab, _where(plan)
    undo: Callable[[], object]
    match plan.fault:
        case Fault.WORKER_KILLED | Fault.WORKERS_KILLED:
            ground.stack.ensure_workers(*WORKERS)
            return
        case Fault.WORKER_STOPPED:
            for name in WORKERS:
                ground.stack.kill(name, signal.SIGCONT)
            return
        case Fault.SOURCE_QEMU_KILLED | Fault.DESTINATION_QEMU_KILLED:
            return
        case Fault.SOURCE_DAEMON_KILLED | Fault.DESTINATION_DAEMON_KILLED:
            undo = lambda: lab.restart_daemon(where)  # noqa: E731
        case Fault.SOURCE_DAEMON_STOPPED | Fault.DESTINATION_DAEMON_STOPPED:
            undo = lambda: lab.continue_daemon(where)  # noqa: E731
        case Fault.SOURCE_CUT | Fault.DESTINATION_CUT:
            undo = lambda: lab.link_up(where)  # noqa: E731
    with suppress(LabError):  # it is mended again after the round
        undo()


def _where(plan: Round) -> str:
    return plan.source if plan.fault.value.startswith("source") else plan.destination


def _signal_worker(ground: Ground, job: Any, number: signal.Signals) -> str:
    """Signal the worker that has the job, by the process that the job's row names."""
    job.refresh_from_db(fields=["worker"])
    for name in WORKERS:
        if f":{ground.stack.pid(name)}:" in job.worker:
            ground.stack.kill(name, number)
            return name
    return ""
