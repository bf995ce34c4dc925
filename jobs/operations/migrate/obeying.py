"""Carrying out what people ask of a migration while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from django.utils import timezone

from access import gate
from access.actions import Action
from access.errors import Refused
from access.gate import SYSTEM, Actor
from hypervisor.errors import HypervisorError
from hypervisor.protocol import Hypervisor
from inventory.models import Host
from jobs.errors import NotAdmitted
from jobs.models import Control

if TYPE_CHECKING:
    from jobs.engine.context import JobContext

Verb, Outcome = Control.Verb, Control.Outcome

#: Between two looks at what is asked, in seconds.
LOOK_EVERY = 0.5
#: The longest pause that QEMU takes as allowed (migration/options.c): with it, it switches at once.
ANY_PAUSE_MS = 2_000_000


class Obedience:
    """Looks at what is asked of one migration, and does it."""

    def __init__(self, context: JobContext, source: Host) -> None:
        self._context, self._source = context, source
        self._looked = 0.0

    def obey(self, *, is_switching: bool) -> list[Control.Verb]:
        """Do what waits, if it is time to look. Returns what was done."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return []
        self._looked = now
        waiting = Control.objects.filter(job=self._context.job, outcome=Outcome.WAITING)
        done = []
        for wish in waiting.select_related("requested_by").order_by("pk"):
            if self._settle(wish, is_switching=is_switching):
                done.append(Verb(wish.verb))
        return done

    def _settle(self, wish: Control, *, is_switching: bool) -> bool:
        context, uuid = self._context, self._context.uuid
        why = self._refused(wish, is_switching=is_switching)
        if not why:
            connection = context.on(self._source)
            name, do = _CALLS[Verb(wish.verb)]
            facts = {"asked_by": wish.requester_name} | ({"mib": wish.value} if wish.value is not None else {})
            try:
                context.undo_effect(name, partial(do, connection, uuid, wish), host=self._source, **facts)
            except HypervisorError as error:
                why = str(error)
        outcome = Outcome.REFUSED if why else Outcome.DONE
        settled = {"outcome": outcome, "note": why[:300], "settled_at": timezone.now()}
        context.ledger.commit(then=lambda: Control.objects.filter(pk=wish.pk).update(**settled))
        return not why

    def _refused(self, wish: Control, *, is_switching: bool) -> str:
        """Why it is not done, now that it could be; "" if it is."""
        if is_switching:
            return "The guest was switching already."
        asker = wish.requested_by or SYSTEM
        if not gate.can(asker, Action.MIGRATE, self._context.vm):
            return f"{wish.requester_name} no longer holds the right “{Action.MIGRATE.label}”."
        if wish.verb == Verb.FORCE_COMPLETION and self._is_beyond_approval(asker):
            return f"{wish.requester_name} alone may not lift the pause that was approved."
        return ""

    def _is_beyond_approval(self, asker: Actor) -> bool:
        from jobs.controls import refuse_beyond_approval  # it knows every operation, the one that calls this included

        try:
            refuse_beyond_approval(asker, self._context.job)
        except (Refused, NotAdmitted):
            return True
        return False


def nobody_waits(context: JobContext) -> None:
    """The migration is over: what is still asked of it is not done."""
    waiting = Control.objects.filter(job=context.job, outcome=Outcome.WAITING)
    end = {"outcome": Outcome.REFUSED, "note": "The migration was over.", "settled_at": timezone.now()}
    context.ledger.commit(then=lambda: waiting.update(**end))


def _set_bandwidth(connection: Hypervisor, uuid: str, wish: Control) -> None:
    connection.migration_set_bandwidth(uuid, wish.value or 0)


def _force(connection: Hypervisor, uuid: str, wish: Control) -> None:
    """The guest then stands still for as long as the rest takes."""
    connection.migration_set_downtime(uuid, ANY_PAUSE_MS)


def _start_postcopy(connection: Hypervisor, uuid: str, wish: Control) -> None:
    connection.migration_start_postcopy(uuid)


_CALLS: dict[Control.Verb, tuple[str, Callable[[Hypervisor, str, Control], None]]] = {
    Verb.SET_BANDWIDTH: ("migration_set_bandwidth", _set_bandwidth),
    Verb.FORCE_COMPLETION: ("migration_set_downtime", _force),
    Verb.START_POST_COPY: ("migration_start_postcopy", _start_postcopy),
}
