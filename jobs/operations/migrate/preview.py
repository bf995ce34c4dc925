"""`vm.migrate_preview`: what a migration would find and come to, asked of the hosts, with nothing touched."""

from __future__ import annotations

from typing import Any

from hypervisor.errors import HostUnreachable, HypervisorError, OperationTimeout
from inventory.models import Host
from jobs.engine.context import JobContext
from jobs.errors import OperationFailed
from jobs.models import Job, Step
from jobs.operations.migrate.destinations import promises_mib
from jobs.operations.migrate.operation import Migrate
from jobs.operations.migrate.policies import policy_named
from jobs.operations.migrate.prechecks import read_facts, verdicts
from jobs.operations.migrate.prediction import MIB, predict
from jobs.operations.migrate.surroundings import MIGRATE, PREVIEW, forbidden
from jobs.states import State

#: Migrations between two hosts that are looked at for what the link carries.
LAST_MIGRATIONS = 5


class MigratePreview(Migrate):
    """The same checks that the migration makes, as a list that does not stop at the first, and a prediction."""

    name = PREVIEW
    label = "Preview the migration of"

    def lock_targets(self, target: Any) -> list[str]:
        """None: it only reads, and what it finds may be old a moment later whoever else works on the VM."""
        return []

    def precheck(self, context: JobContext) -> None:
        """What the migration refuses for, this one is to tell."""

    def execute(self, context: JobContext) -> None:
        try:
            self._ask(context)
        except (HostUnreachable, OperationTimeout) as error:  # there is nothing that would have to be found out later
            raise OperationFailed(error.code, str(error)) from error

    def _ask(self, context: JobContext) -> None:
        source, destination = context.home(), context.host(context.params["destination"])
        facts = read_facts(
            context.vm, source, destination, context.on(source), context.on(destination),
            promised_mib=promises_mib().get(destination.pk, 0), forbidden=forbidden(context.vm, destination),
            copy_disks=context.params.get("copy_disks", False),
        )  # fmt: skip
        found = verdicts(facts)
        steps = context.ledger.steps
        for verdict in found:
            step = steps.open("precheck", verdict.name, verdict.title)
            state = Step.State.DONE if verdict.holds else Step.State.FAILED
            steps.close(step, state, verdict.found if verdict.holds else verdict.why)
        refused = [{"code": verdict.code, "message": verdict.why} for verdict in found if not verdict.holds]
        context.result(
            source=source.name, destination=destination.name, would_begin=not refused, refused=refused,
            snapshots=len(facts.snapshots),
        )  # fmt: skip
        self._foretell(context, source, destination, facts.state.memory_mib)

    def verify(self, context: JobContext) -> None:
        """There is nothing to prove."""

    def rollback(self, context: JobContext, error: BaseException) -> str:
        """Nothing was touched."""
        return ""

    def _foretell(self, context: JobContext, source: Host, destination: Host, memory_mib: int) -> None:
        with context.step("dirty_rate", "Measure how much memory the guest writes") as step:
            try:
                dirty = context.on(source).dirty_rate(context.uuid)
            except HypervisorError as error:
                step.detail = f"not measured: {error}"
                return
            cap = context.params["bandwidth_mib"] * MIB
            link = min(filter(None, (cap, link_bps(source, destination))), default=None)
            policy = policy_named(context.params["policy"], context.params["max_downtime_ms"])
            foretold = predict(memory_mib * MIB, dirty, link, policy)
            step.detail = foretold.sentence
        context.result(
            dirty_bps=dirty, link_bps=link, ends=foretold.ends, seconds=foretold.seconds, pause_ms=foretold.pause_ms,
            sentence=foretold.sentence,
        )  # fmt: skip


def link_bps(source: Host, destination: Host) -> int | None:
    """What the link between two hosts carried at its best in their last migrations, in bytes a second, if any told."""
    past = Job.objects.filter(
        operation=MIGRATE, state=State.SUCCEEDED, result__source=source.name, result__destination=destination.name
    ).order_by("-finished_at")
    known = past.values_list("result__link_bps", flat=True)[:LAST_MIGRATIONS]
    return max((int(speed) for speed in known if speed), default=None)
