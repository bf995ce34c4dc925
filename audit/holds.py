"""Legal holds: what must stay in the record, whatever its age, until somebody says why it need not any more.

A hold is its event, `hold.placed`; it ends with the `hold.lifted` that names it. There is no table of holds whose rows
could quietly go. Who may place one is asked above (`access.holds`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Min, Q

from audit.events import EventAction
from audit.locks import lock_holds
from audit.models import AuditEvent, AuditSeal
from audit.record import Target, record


@dataclass(frozen=True, slots=True)
class Cover:
    """What a hold covers: the events that meet all that is given; every event when nothing is.

    A person, an object and a segment are given by id or by name (an object also by UUID), and any of these counts, so
    that a hold covers too much rather than too little.
    """

    since: datetime | None = None
    until: datetime | None = None
    person: str = ""
    object: str = ""
    segment: str = ""

    def condition(self) -> Q:
        """The events covered."""
        condition = Q()
        if self.since is not None:
            condition &= Q(at__gte=self.since)
        if self.until is not None:
            condition &= Q(at__lt=self.until)
        if self.person:
            condition &= _any(("actor_id", "actor_name", "on_behalf_of_id", "on_behalf_of_name"), self.person) | (
                Q(object_type="user") & _any(("object_id", "object_name"), self.person)
            )
        if self.object:
            condition &= _any(("object_uuid", "object_id", "object_name"), self.object)
        if self.segment:
            condition &= _any(("segment_id", "segment_name"), self.segment) | (
                Q(object_type="segment") & _any(("object_id", "object_name"), self.segment)
            )
        return condition

    def __str__(self) -> str:
        times = [f"from {self.since:%Y-%m-%d %H:%M}"] if self.since else []
        times += [f"before {self.until:%Y-%m-%d %H:%M}"] if self.until else []
        given = {"person": self.person, "object": self.object, "segment": self.segment}
        return ", ".join([*times, *(f"{name} {value}" for name, value in given.items() if value)]) or "everything"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that stands."""

    id: int
    name: str
    reason: str
    cover: Cover
    placed_at: datetime
    placed_by: str

    def __str__(self) -> str:
        return f"hold {self.id}, {self.name!r} ({self.cover})"

    def audit_target(self) -> Target:
        """How the record names it."""
        return Target(type="hold", id=str(self.id), name=self.name)


class NoSuchHold(Exception):
    """There is no hold of this number that stands."""


def hold_place(*, name: str, reason: str, cover: Cover, actor: Any = None) -> Hold:
    """Place a hold; waits for an archive that removes rows just now, batch by batch. Raises what `record()` does."""
    with transaction.atomic():
        lock_holds()
        event = record(
            EventAction.HOLD_PLACED,
            target=Target(type="hold", id="", name=name),
            reason=reason,
            after=asdict(cover),
            actor=actor,
        )
    return _hold(event)


def hold_lift(hold_id: int, *, reason: str, actor: Any = None) -> Hold:
    """Lift a hold. Raises NoSuchHold, and what `record()` does."""
    with transaction.atomic():
        lock_holds()
        found = standing_hold(hold_id)
        record(EventAction.HOLD_LIFTED, target=found, reason=reason, before=asdict(found.cover), actor=actor)
    return found


def standing_hold(hold_id: int) -> Hold:
    """The hold of this number. Raises NoSuchHold."""
    found = next((hold for hold in standing_holds() if hold.id == hold_id), None)
    if found is None:
        raise NoSuchHold(f"There is no hold {hold_id} that stands.")
    return found


def standing_holds() -> list[Hold]:
    """The holds that were placed and not lifted, oldest first."""
    lifted = set(AuditEvent.objects.filter(action=EventAction.HOLD_LIFTED).values_list("object_id", flat=True))
    placed = AuditEvent.objects.filter(action=EventAction.HOLD_PLACED).order_by("id")
    return [_hold(event) for event in placed if str(event.pk) not in lifted]


def first_held(first: int, last: int, holds: Iterable[Hold] | None = None) -> tuple[int, Hold] | None:
    """The first of the seals `first` to `last` that a hold covers, with that hold; None when none does."""
    seals = AuditSeal.objects.filter(sequence__gte=first, sequence__lte=last)
    found: list[tuple[int, int, Hold]] = []
    for hold in standing_holds() if holds is None else holds:
        covered = AuditEvent.objects.filter(pk__in=seals.order_by().values("event_id"))
        if condition := hold.cover.condition():
            # Its own event too: else the hold could be archived, and would be forgotten.
            covered = covered.filter(condition | Q(pk=hold.id))
        least = seals.filter(event_id__in=covered.order_by().values("pk")).aggregate(least=Min("sequence"))["least"]
        if least is not None:
            found.append((least, hold.id, hold))
    if not found:
        return None
    sequence, _, hold = min(found, key=lambda entry: entry[:2])
    return sequence, hold


def _hold(event: AuditEvent) -> Hold:
    # What can't be read covers everything.
    given = event.after if isinstance(event.after, dict) else {}
    times = {name: _moment(given.get(name)) for name in ("since", "until")}
    names = {name: str(given.get(name) or "") for name in ("person", "object", "segment")}
    return Hold(event.pk, event.object_name, event.reason, Cover(**times, **names), event.at, event.actor_name)  # type: ignore[arg-type]


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _any(columns: tuple[str, ...], value: str) -> Q:
    condition = Q()
    for column in columns:
        condition |= Q(**{column: value})
    return condition
