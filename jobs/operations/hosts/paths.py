"""`host.prove_paths`: a canary from a host to each other one of its cluster, and back. What a migration between two
hosts needs beside the VM (address, credentials, ports, names, certificates) can only be proved by migrating.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from access.actions import Action
from access.gate import Actor, System
from hypervisor.errors import GuestNotFound, GuestStateInvalid, HostUnreachable, HypervisorError
from hypervisor.protocol import Hypervisor
from hypervisor.types import MARKER_PREFIX, MigrationSpec
from inventory.models import Host, HostPair
from inventory.paths import is_like_a_canary, path_between, path_observed
from jobs.errors import NotAdmitted, OperationFailed, TargetBusy, WaitForParts
from jobs.operations.base import Operation
from jobs.operations.hosts.standing import host_of
from jobs.operations.hosts.survey import rooms_for
from jobs.states import TERMINAL

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

log = logging.getLogger(__name__)

PROVE_PATHS = "host.prove_paths"
#: How long a canary may travel, in seconds: it takes two; a destination that drops packets would take minutes.
CANARY_SECONDS = 60.0
#: The size of the volume that one host creates and the other looks for; it takes no room.
MARKER_BYTES = 1024**2
#: Before a host is drained, its paths were proved within this time.
LATELY = timedelta(hours=1)
#: How long a drain waits before it looks again whether another job has done proving.
LOOK_AGAIN = timedelta(seconds=3)
_ENDS = ("source", "destination")


class _NoCanary(HypervisorError):
    """Something else has its UUID."""


class ProvePaths(Operation):
    """Sends the canaries one after another. A path that is broken fails the job, once all have been tried.

    The job is shown to everybody who sees its host: it names no other one, and what a host said is on the host's page,
    for who operates it.
    """

    name = PROVE_PATHS
    label = "Prove the paths of"
    action = Action.OPERATE_HOST
    target_kind = "host"

    def admit(self, actor: Actor, target: Host, params: dict[str, Any]) -> None:
        if not target.is_online:
            raise NotAdmitted("host_offline", f"{target} does not answer at present.")
        if not proved_with(actor, target):
            raise NotAdmitted("no_other_host", f"No other host of {target.cluster} answers on which you may place VMs.")

    def lock_targets(self, target: Host) -> list[str]:
        """A canary at a time in a cluster; the host itself is free for other work."""
        return [f"paths:{target.cluster_id}"]

    def execute(self, context: JobContext) -> None:
        host = host_of(context)
        others = proved_with(context.actor, host)
        for number, other in enumerate(others):
            context.progress("travelling", 100 * number // len(others), shown_at_once=False)
            which = f"another host, {number + 1} of {len(others)}"
            for source, destination, way in ((host, other, "to"), (other, host, "from")):
                if Host.objects.filter(pk=other.pk).exists():  # removed just before this job began
                    _prove(context, source, destination, f"Prove the path {way} {which}")

    def verify(self, context: JobContext) -> None:
        # A host that was removed meanwhile took its paths along.
        pairs = list(HostPair.objects.filter(pk__in=context.job.journal.get("paths", ())).select_related(*_ENDS))
        proved = [pair for pair in pairs if pair.ok and _is_of(context, pair)]
        broken = [pair for pair in pairs if pair.is_broken and _is_of(context, pair)]
        unproved = [pair for pair in pairs if not _is_of(context, pair)]
        context.result(proved=len(proved), broken=len(broken), unproved=len(unproved))
        host = host_of(context)
        if broken:
            raise OperationFailed(
                "path_broken",
                f"No canary got through on {len(broken)} of {len(pairs)} paths; the page of {host} says which "
                "and why. No VM is sent that way until the path was proved again.",
            )
        if unproved:
            raise OperationFailed(
                "path_unproved",
                f"{len(unproved)} of {len(pairs)} paths were not proved, for a host did not answer; the page of {host} "
                "lists them.",
            )


def proved_with(actor: Actor, host: Host) -> list[Host]:
    """The other hosts of the cluster that answer and on which the actor may place VMs."""
    hosts: Any = Host.objects.all() if isinstance(actor, System) else Host.objects.visible_to(actor, Action.PLACE)
    found = hosts.filter(cluster=host.cluster_id, connection=Host.Connection.ONLINE).exclude(pk=host.pk)
    return list(found.select_related("cluster").order_by("name"))


def _is_of(context: JobContext, pair: HostPair) -> bool:
    """Whether what is known of the path was found out by this job."""
    return pair.proved_at is not None and pair.proved_at >= context.job.created_at


def _prove(context: JobContext, source: Host, destination: Host, title: str) -> None:
    """Send one canary, unless an earlier attempt of the job has, and write down what became of it."""
    pair = path_between(source, destination)
    context.note(paths=sorted({*context.job.journal.get("paths", ()), pair.pk}))
    if _is_of(context, pair):
        return
    context.check_cancel()
    with context.step(f"path_{pair.pk}", title) as step:
        try:
            why, seconds = _flown(context, pair, source, destination)
            shared = _shared(context, pair, source, destination)
        except HostUnreachable as error:
            log.info("job %s: %s not proved: %s", context.job.pk, pair, error)
            step.detail = "not proved, a host did not answer"
            return
        step.detail = "broken" if why else f"proved in {seconds} s"
        step.detail += f"; shared storage: {', '.join(shared)}" if shared else ""
        found = partial(path_observed, pair, ok=not why, why=why, seconds=seconds, shared=shared)
        context.ledger.commit(then=found)


def _flown(context: JobContext, pair: HostPair, source: Host, destination: Host) -> tuple[str, float | None]:
    """The same as `_sent`, with nothing of a canary there before and after. Raises HostUnreachable."""
    try:
        _clear(context, pair, source, destination)
        found = _sent(context, pair, source, destination)
        _clear(context, pair, source, destination)
    except _NoCanary as error:
        return str(error), None
    return found


def _sent(context: JobContext, pair: HostPair, source: Host, destination: Host) -> tuple[str, float | None]:
    """Why the canary did not get through ("" if it did), and how many seconds it took. Raises HostUnreachable when it
    is our own connection that fails: that says nothing about the path.
    """
    began, canary = time.monotonic(), str(pair.canary)
    spec = MigrationSpec(persistent=False, auto_converge=False, encrypted=source.cluster.encrypted_migrations)
    fly = partial(_fly, context.on(source), context.on(destination), canary, str(destination.uri), spec)
    try:
        context.effect("prove_path", fly, host=source, destination=destination.name, canary=canary)
    except HostUnreachable:
        raise
    except HypervisorError as error:
        return str(error), None
    return "", round(time.monotonic() - began, 2)


def _fly(here: Hypervisor, there: Hypervisor, canary: str, destination_uri: str, spec: MigrationSpec) -> None:
    """Start the canary, let it migrate, see that it arrived, and take it away."""

    def start_and_migrate() -> None:
        here.canary_start(canary)
        here.migrate(canary, destination_uri, spec)

    here.together(start_and_migrate, seconds=CANARY_SECONDS)
    there.force_off(canary)


def _shared(context: JobContext, pair: HostPair, source: Host, destination: Host) -> list[str]:
    """Directories of pools that both hosts have and in which the source sees what the destination writes. Raises
    HostUnreachable.
    """
    here, there = context.on(source), context.on(destination)
    pools, others = here.storage_pools(), there.storage_pools()
    found = []
    for directory in sorted(pools.keys() & others.keys()):
        marked = partial(_marked, here, there, pools[directory], others[directory], pair, context.token)
        try:
            if context.effect("prove_storage", marked, host=destination, source=source.name, directory=directory):
                found.append(directory)
        except HostUnreachable:
            raise
        except HypervisorError:
            continue  # a pool that takes no volume proves nothing; the record has its reason
    return found


def _marked(here: Hypervisor, there: Hypervisor, pool: str, other: str, pair: HostPair, token: str) -> bool:
    """Whether a volume that is created there is seen here. It is removed again, with what a crash left of others."""
    prefix = f"{MARKER_PREFIX}{pair.canary}-"
    there.markers_remove(other, prefix)
    try:
        there.volume_create(other, f"{prefix}{token}", capacity_bytes=MARKER_BYTES)
        return here.volume_seen(pool, f"{prefix}{token}")
    finally:
        there.markers_remove(other, prefix)


def _clear(context: JobContext, pair: HostPair, source: Host, destination: Host) -> None:
    """Take away what a crash or a failed migration left of the canary. Raises _NoCanary: a VM that was made from its
    definition, say, is not ours to switch off.
    """
    canary = str(pair.canary)
    for host in (destination, source):
        connection = context.on(host)
        try:
            guest = connection.guest_state(canary)
        except GuestNotFound:
            continue
        if not is_like_a_canary(guest):
            raise _NoCanary(f"{host} has a VM with the canary's UUID {canary}, which is no canary; remove it.")
        try:
            context.undo_effect("force_off", partial(connection.force_off, canary), host=host, canary=canary)
        except (GuestNotFound, GuestStateInvalid):
            continue  # it has gone by itself, as the incoming side of a migration that was broken off does


def proved_lately(context: JobContext, host: Host) -> None:
    """See that the paths out of a host were proved lately, or have that done first by a part of this job. Raises
    WaitForParts.
    """
    news, parts = context.job.parts.news(), context.job.parts.filter(operation=PROVE_PATHS)
    if parts.exclude(state__in=TERMINAL).exists():
        raise WaitForParts(news=news)
    rooms = rooms_for(context.actor, host, broken_too=True)
    if parts.exists() or all(path_between(host, room).was_proved_within(LATELY) for room in rooms.values()):
        return
    try:
        context.submit_part(PROVE_PATHS, host, {})
    except TargetBusy:
        raise WaitForParts(news=news, until=timezone.now() + LOOK_AGAIN) from None
    except NotAdmitted:
        return  # there is nobody to fly to: the plan will say what that means
    raise WaitForParts(news=news)
