"""Disks that are copied along: volumes at the destination before, and what is left at the source after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from hypervisor.errors import HypervisorError
from inventory.leftovers import leftover_noted
from inventory.models import Host
from jobs.models import Job
from jobs.operations.migrate.prechecks.disks import Copy
from jobs.operations.migrate.surroundings import MIGRATE

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


def packed(copies: Sequence[Copy]) -> list[dict[str, Any]]:
    """As it is journalled."""
    return [asdict(copy) for copy in copies]


def unpacked(context: JobContext) -> list[Copy]:
    """As it was journalled."""
    return [Copy(**facts) for facts in context.job.journal.get("copies", ())]


def promised_bytes(context: JobContext, destination: Host) -> dict[str, int]:
    """Pool of the destination -> bytes that the copies of other migrations under way may take there: their volumes are
    sparse, so that the pool's figures do not show it yet.
    """
    found: dict[str, int] = {}
    others = Job.objects.active().filter(operation=MIGRATE, journal__destination=destination.pk)
    for copies in others.exclude(pk=context.job.pk).values_list("journal__copies", flat=True):
        for copy in copies or ():
            found[copy["pool"]] = found.get(copy["pool"], 0) + copy["capacity_bytes"]
    return found


def make_volumes(context: JobContext, destination: Host) -> None:
    """Before the migration: a volume for each disk that is copied, as large as the guest sees it. Those that an earlier
    attempt of the job made stay.
    """
    copies, there = unpacked(context), context.on(destination)
    if not copies:
        return
    with context.step("volumes", "Make room for the disks at the destination", shown_at_once=False) as step:
        for copy in copies:
            made: list[str] = context.job.journal.get("made", [])
            if copy.target in made and there.volume_seen(copy.pool, copy.name):
                continue
            create = partial(
                there.volume_create, copy.pool, copy.name,
                capacity_bytes=copy.capacity_bytes, image_format=copy.image_format,
            )  # fmt: skip
            try:
                context.effect(
                    "volume_create", create, host=destination, journal={"made": sorted({*made, copy.target})},
                    pool=copy.pool, volume=copy.name,
                )  # fmt: skip
            except HypervisorError as error:
                if not error.retryable:
                    context.note(made=made)  # it is another's: not ours to remove
                raise
        step.detail = f"{len(copies)} disks"


def cleared_away(context: JobContext, destination: Host, *, runs_at_source: bool) -> str:
    """After a migration that did not come about, for a VM that the destination does not know: remove what was made for
    it. Not if the guest may have run there: then these are the disks with what it wrote last, and a sentence says so.
    """
    journal = context.job.journal
    made, there = set(journal.get("made", ())), context.on(destination)
    if not made:
        return ""
    copies = [copy for copy in unpacked(context) if copy.target in made]
    if journal.get("wrote_there") and not runs_at_source:
        paths = ", ".join(copy.path for copy in copies)
        return (
            f"The copies of its disks on {destination} may have what it wrote last, and were left there ({paths}): "
            "compare them before you start it."
        )
    for copy in copies:
        remove = partial(there.volume_remove, copy.pool, copy.name)
        context.undo_effect("volume_remove", remove, host=destination, pool=copy.pool, volume=copy.name)
    return ""


def note_leftovers(context: JobContext, source: Host) -> None:
    """After a migration that was verified: the source's files are kept for a while, and then removed."""
    for copy in unpacked(context):
        noted = partial(
            leftover_noted, source, context.vm,
            path=copy.path, size_bytes=copy.capacity_bytes, since=context.job.created_at,
        )  # fmt: skip
        context.ledger.commit(then=noted)
