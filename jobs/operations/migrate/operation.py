"""`vm.migrate`: a running VM to another host of its cluster, with its snapshots."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from access import gate
from access.actions import Action
from access.gate import Actor
from hypervisor.echoes import Echoes
from hypervisor.errors import GuestNotFound, HostUnreachable, HypervisorError, OperationTimeout
from hypervisor.types import MigrationProgress, MigrationSpec, PowerState, StateReason
from inventory.approved import carried_over
from inventory.models import VM, Host
from inventory.syncing import guest_read, vm_details_read
from jobs.engine.context import JobContext
from jobs.errors import CancelRequested, Fenced, InvalidRequest, NotAdmitted, OperationFailed, OutcomeUnknown
from jobs.models import Job
from jobs.operations.base import Operation
from jobs.operations.migrate import copying, luggage, verification
from jobs.operations.migrate.destinations import destination_chosen, promises_mib
from jobs.operations.migrate.monitor import Listener, Monitor, Trace
from jobs.operations.migrate.obeying import nobody_waits
from jobs.operations.migrate.policies import Policy, policy_named, policy_wish
from jobs.operations.migrate.prechecks import read_facts, verdicts
from jobs.operations.migrate.settle import settle
from jobs.operations.migrate.surroundings import forbidden
from jobs.operations.migrate.truth import Truth
from jobs.operations.migrate.verification import LIVES_WITHIN, Outcome, Pulse
from jobs.operations.params import boolean, integer, only
from jobs.operations.power import refuse_unsettled
from jobs.operations.waiting import wait_for

#: How long the call has for itself before anything else is done here, in seconds: less than it takes to start a QEMU at
#: the destination. With 0.03 s, what is asked of the hosts meanwhile made the call take 13 ms longer.
HEAD_START = 0.12


class Migrate(Operation):
    """Peer-to-peer live migration: the source's daemon carries it through even when this worker dies."""

    name = "vm.migrate"
    label = "Migrate"
    action = Action.MIGRATE

    def clean(self, params: Mapping[str, Any]) -> dict[str, Any]:
        only(params, "destination", "policy", "bandwidth_mib", "max_downtime_ms", "copy_disks")
        destination = params.get("destination")
        if destination is not None and (isinstance(destination, bool) or not isinstance(destination, int | str)):
            raise InvalidRequest("“destination” is a host's id or name.", field="params.destination")
        return {
            "destination": destination,
            "policy": policy_wish(params),
            "bandwidth_mib": integer(params, "bandwidth_mib", default=0, low=0, high=1_000_000),
            "max_downtime_ms": integer(params, "max_downtime_ms", default=None, low=1, high=2_000_000),
            "copy_disks": boolean(params, "copy_disks", default=False),
        }

    def admit(self, actor: Actor, target: VM, params: dict[str, Any]) -> None:
        self._admit(actor, target, params, None)

    def admit_part(self, actor: Actor, target: VM, params: dict[str, Any], parent: Job) -> None:
        self._admit(actor, target, params, parent)

    def _admit(self, actor: Actor, target: VM, params: dict[str, Any], parent: Job | None) -> None:
        refuse_unsettled(target)
        if not target.is_running:
            raise NotAdmitted(
                "vm_not_running", f"{target} is {target.get_power_state_display()}; only a running VM migrates live."
            )
        host = destination_chosen(actor, target, params["destination"], parent)
        params["destination"], params["destination_name"] = host.pk, host.name
        params["policy"] = params["policy"] or target.policy_of_migrations.value

    def rights(self, context: JobContext) -> None:
        gate.authorise(context.actor, Action.PLACE, context.host(context.params["destination"]))

    def precheck(self, context: JobContext) -> None:
        source, destination = context.home(), context.host(context.params["destination"])
        facts = read_facts(
            context.vm,
            source,
            destination,
            context.on(source),
            context.on(destination),
            promised_mib=promises_mib(before=context.job).get(destination.pk, 0),
            promised_bytes=copying.promised_bytes(context, destination),
            forbidden=forbidden(context.vm, destination, before=context.job, part_of=context.job.parent),
            copy_disks=context.params.get("copy_disks", False),
        )
        context.verdicts(verdicts(facts))
        context.note(
            source=source.pk,
            destination=destination.pk,
            xml=facts.definition.xml,
            persistent=facts.definition.persistent,
            autostart=facts.definition.autostart,
            snapshots=luggage.packed(facts.snapshots),
            copies=copying.packed(facts.copies),
        )

    def execute(self, context: JobContext) -> None:
        source, destination = _hosts(context)
        policy = policy_named(context.params["policy"], context.params["max_downtime_ms"])
        is_taken_up = bool(context.job.journal.get("called"))
        if is_taken_up:
            monitor = _taken_up(context, source, destination, policy)
            problem: HypervisorError | None = None
        else:
            copying.make_volumes(context, destination)
            luggage.take_off(context, source)
            monitor, problem = _call(context, source, destination, policy)
        with context.step("settle", "Ask both hosts where the VM runs") as step:
            told = not is_taken_up and (problem is None or not problem.retryable)
            found = settle(context, source, destination, monitor, _spec(context, source, policy), told=told)
            step.detail = found.value
        nobody_waits(context)
        guest_read(destination, context.on(destination), context.uuid)
        guest_read(source, context.on(source), context.uuid)
        if found is not Truth.ARRIVED:
            raise _why_not(context, found, monitor, problem, source)
        context.done()  # with the VM's host written: else its memory counts as there and as still to come
        _measure(context, monitor, source, destination)
        luggage.put_on(context, destination)

    def verify(self, context: JobContext) -> None:
        source, destination = _hosts(context)
        connection, uuid = context.on(destination), context.uuid
        try:
            self._verify(context, source, destination)
        except (HostUnreachable, OperationTimeout):
            raise
        except HypervisorError as error:  # a question to a QEMU that ended meanwhile, say
            if connection.guest_state(uuid).state is PowerState.RUNNING:
                raise
            raise OperationFailed(
                "guest_stopped", f"{context.vm} arrived at {destination} and stopped running there: {error}"
            ) from error

    def _verify(self, context: JobContext, source: Host, destination: Host) -> None:
        connection, uuid = context.on(destination), context.uuid
        lives = wait_for(
            context, Pulse(lambda: connection.pulse(uuid)), seconds=LIVES_WITHIN, every=0.02, cancellable=False
        )
        outcome = Outcome(
            vm=context.vm,
            source=source,
            destination=destination,
            state=connection.guest_state(uuid),
            definition=connection.guest_definition(uuid),
            still_at_source=_knows(context, source),
            lives=lives is True,
            disk_errors=connection.disk_errors(uuid),
            listed={snapshot.name for snapshot in connection.list_snapshots(uuid)},
            expected={snapshot.name for snapshot in luggage.unpacked(context)},
            persistent_before=context.job.journal["persistent"],
            autostart_before=context.job.journal["autostart"],
        )
        context.verdicts(verification.verdicts(outcome))
        vm_details_read(context.vm, connection)
        carried_over(context.vm, context.job.journal["xml"])
        copying.note_leftovers(context, source)

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """The VM is where it is; what travels with it is put back on there. Copies of its disks go where it is not."""
        source, destination = _hosts(context)
        said = ""
        if context.job.journal.get("made") and _knows(context, source) and not _knows(context, destination):
            runs = context.on(source).guest_state(context.uuid).state is PowerState.RUNNING
            said = copying.cleared_away(context, destination, runs_at_source=runs)
        for host in _hosts(context):
            if _knows(context, host):
                luggage.put_on(context, host)
                guest_read(host, context.on(host), context.uuid)
                vm_details_read(context.vm, context.on(host))
                break
        return said


def _hosts(context: JobContext) -> tuple[Host, Host]:
    """Source and destination, as journalled before the first effect."""
    return context.host(context.job.journal["source"]), context.host(context.job.journal["destination"])


def _taken_up(context: JobContext, source: Host, destination: Host, policy: Policy) -> Monitor:
    """The call was another worker's, which died; the hypervisors may have gone on without it."""
    with context.step("migrate", f"Migrate from {source} to {destination}", shown_at_once=False) as step:
        step.detail = "begun by a worker that was lost"
        context.progress("finding out")
    return Monitor(context, source, policy, Trace())


def _spec(context: JobContext, source: Host, policy: Policy) -> MigrationSpec:
    return MigrationSpec(
        bandwidth_mib=context.params["bandwidth_mib"],
        max_downtime_ms=policy.first_downtime_ms,
        auto_converge=policy.slows,
        allow_postcopy=policy.postcopy,
        unsafe=True,  # that the storage is shared was declared or proved, which libvirt cannot tell: see the prechecks
        persistent=context.job.journal["persistent"],
        encrypted=source.cluster.encrypted_migrations,
        copied=tuple(copy.target for copy in copying.unpacked(context)),
    )


def _call(
    context: JobContext, source: Host, destination: Host, policy: Policy
) -> tuple[Monitor, HypervisorError | None]:
    """Start the migration and follow it to the end of the call. Returns what was seen, and the call's error."""
    spec = _spec(context, source, policy)
    with context.step("migrate", f"Migrate from {source} to {destination}", shown_at_once=False) as step:
        context.check_cancel()
        monitor = Monitor(context, source, policy, Trace())
        try:
            context.effect(
                "migrate",
                partial(_blocking_call, context, source, destination, spec, monitor),
                host=source,
                journal={"called": True},
                destination=destination.name,
                mark=str(context.job.pk),
                spec={
                    "unsafe": spec.unsafe,
                    "encrypted": spec.encrypted,
                    "copied": spec.copied,
                    "postcopy": spec.allow_postcopy,
                    "downtime_ms": spec.max_downtime_ms,
                },
            )
        except HypervisorError as error:
            step.detail = str(error)
            return monitor, error
    return monitor, None


def _blocking_call(context: JobContext, source: Host, destination: Host, spec: MigrationSpec, monitor: Monitor) -> None:
    """The call that lasts as long as the migration, in a thread of its own, watched from here; before it, the VM is
    marked with the job, as it cannot be any more once the migration has begun.

    The events are subscribed to once the call is under way, which it would delay (one interpreter runs both): the
    destination needs longer to start its QEMU than that takes.
    """
    connection, uuid, destination_uri = context.on(source), context.uuid, str(destination.uri)
    mark = str(context.job.pk)
    ended = threading.Event()
    problems: list[BaseException] = []

    def marked_and_migrated() -> None:
        connection.mark_operation(uuid, mark)
        context.check_lease()
        connection.migrate(uuid, destination_uri, spec)

    def call() -> None:
        try:
            connection.together(marked_and_migrated, seconds=None)
        except BaseException as error:  # handed to the thread that waits
            problems.append(error)
        finally:
            ended.set()

    threading.Thread(target=call, name=f"migrate-{uuid}", daemon=True).start()
    ended.wait(HEAD_START)
    monitor.set_limit()
    if context.vm.probe_address:
        monitor.trace.echoes = context.hold(Echoes(context.vm.probe_address))
    listener = Listener(uuid, connection, context.on(destination), monitor.trace)
    try:
        monitor.follow(ended)
    except (Fenced, HypervisorError):
        raise
    except Exception as error:  # the hypervisors go on; the next attempt finds out how it ended, and puts back
        raise OutcomeUnknown(f"The migration went on, but following it failed: {error}") from error
    finally:
        listener.stop()
    if problems:
        raise problems[0]


def _why_not(
    context: JobContext, found: Truth, monitor: Monitor, problem: HypervisorError | None, source: Host
) -> Exception:
    """The sentence for a VM that did not arrive."""
    if context.is_cancelled() and found is Truth.STAYED:
        return CancelRequested(f"Cancelled by {context.cancelled_by()}; {context.vm} runs on {source}, as before.")
    if found is Truth.STOPPED:
        return OperationFailed(
            "guest_stopped", f"{context.vm} stopped running while it migrated; start it when you know why."
        )
    if monitor.verdict:
        return OperationFailed("not_converging", f"{monitor.verdict} {context.vm} runs on {source}, as before.")
    why = f": {str(problem).rstrip('.')}" if problem else ""
    code = problem.code if problem else "migration_failed"
    return OperationFailed(code, f"The migration failed{why}. {context.vm} runs on {source}, as before.")


def _measure(context: JobContext, monitor: Monitor, source: Host, destination: Host) -> None:
    """Write down what was measured: by QEMU (asked of the destination), and by the hosts' events."""
    trace = monitor.trace
    trace.ended = trace.ended or max(filter(None, (trace.source_gone, trace.resumed, trace.started)))
    try:
        done = context.on(destination).completed_migration(context.uuid)
    except HypervisorError:
        done = None  # a daemon that was restarted no longer knows
    outside = trace.silence()
    context.result(
        source=source.name,
        destination=destination.name,
        seconds=_seconds(done, trace),
        downtime_ms=done.downtime_ms if done else trace.event_gap_ms,
        downtime_event_gap_ms=trace.event_gap_ms,
        downtime_outside_ms=outside.longest_ms,
        downtime_outside_why=outside.why,
        downtime_source="hypervisor" if done else ("events" if trace.event_gap_ms is not None else "not measured"),
        hypervisor_total_ms=done.elapsed_ms if done else None,
        link_bps=_link_bps(context, monitor, done),
        iterations=done.iteration if done and done.iteration else monitor.last.iteration,
        post_copy=trace.postcopy is not None or bool(context.job.journal.get("post_copy")),
        phases=trace.phases(),
    )


def _link_bps(context: JobContext, monitor: Monitor, done: MigrationProgress | None) -> int | None:
    """What the link carried at its best, in bytes a second; None where a cap held it back, or nobody saw it."""
    if context.params["bandwidth_mib"]:
        return None
    return max(monitor.passes.fastest_bps, done.memory_bps if done else 0) or None


def _seconds(done: MigrationProgress | None, trace: Trace) -> float | None:
    """How long it took: as seen from here, else by the hypervisor's own count."""
    if trace.resumed is not None and trace.ended is not None:
        return round(trace.ended - trace.started, 3)
    return round(done.elapsed_ms / 1000, 3) if done else None


def _knows(context: JobContext, host: Host) -> bool:
    try:
        state = context.on(host).guest_state(context.uuid)
    except GuestNotFound:
        return False
    return not (state.state is PowerState.SHUT_OFF and state.reason is StateReason.MIGRATED)
