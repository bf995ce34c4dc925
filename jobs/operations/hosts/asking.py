"""What the hosts themselves say against a VM's move, before it is begun: the checks that the migration makes again."""

from __future__ import annotations

from hypervisor.errors import GuestNotFound, HypervisorError
from inventory.models import VM, Host
from jobs.engine.context import JobContext
from jobs.operations.hosts.survey import Obstacle
from jobs.operations.migrate.prechecks import read_facts, verdicts


def hosts_object(context: JobContext, vm: VM, host: Host, destination: Host) -> Obstacle | None:
    """The first thing that one VM's hosts say against its move from `host`."""
    try:
        facts = read_facts(vm, host, destination, context.on(host), context.on(destination))
    except GuestNotFound:
        return None  # it has just gone
    except HypervisorError as error:
        return Obstacle(error.code, f"{vm} could not be asked about: {error}")
    failed = next((verdict for verdict in verdicts(facts) if not verdict.holds), None)
    return Obstacle(failed.code, failed.why) if failed is not None else None
