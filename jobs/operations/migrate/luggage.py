"""What libvirt does not carry across by itself: snapshots' metadata (which even forbids the migration), autostart,
our mark.

All of it is in the journal before it is taken off, and putting it on is idempotent, so that a crash at any point
loses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hypervisor.types import SavedSnapshot
from inventory.models import Host

if TYPE_CHECKING:
    from jobs.engine.context import JobContext


def packed(saved: Sequence[SavedSnapshot]) -> list[dict[str, Any]]:
    """As it is journalled."""
    return [asdict(snapshot) for snapshot in saved]


def unpacked(context: JobContext) -> list[SavedSnapshot]:
    """As it was journalled."""
    return [SavedSnapshot(**facts) for facts in context.job.journal["snapshots"]]


def take_off(context: JobContext, source: Host) -> None:
    """Before the migration: drop the snapshots' metadata at the source (the data stays in the images)."""
    connection, uuid = context.on(source), context.uuid
    names = [snapshot.name for snapshot in unpacked(context)]
    with context.step("luggage_off", "Note what travels along", shown_at_once=False) as step:
        step.detail = f"{len(names)} snapshots"
        if names:
            context.effect(
                "snapshots_forget", lambda: connection.snapshots_forget(uuid, names), host=source, snapshots=names
            )


def put_on(context: JobContext, host: Host) -> None:
    """Afterwards, on the host that has the VM: snapshots back, autostart as it was, our mark off."""
    connection, uuid = context.on(host), context.uuid
    saved = unpacked(context)
    with context.step("luggage_on", "Put back what travelled along", shown_at_once=False) as step:
        step.detail = f"{len(saved)} snapshots"
        if saved:
            names = [snapshot.name for snapshot in saved]
            context.undo_effect(
                "snapshots_restore", lambda: connection.snapshots_restore(uuid, saved), host=host, snapshots=names
            )
        if context.job.journal["autostart"]:
            context.undo_effect("set_autostart", lambda: connection.set_autostart(uuid, True), host=host)
        context.undo_effect("mark_operation", lambda: connection.mark_operation(uuid, ""), host=host, mark="")
