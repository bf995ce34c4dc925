"""Reading the record. Newest first."""

# ruff: noqa: S608 (the statements are made of this file's constants)

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Min, Q, QuerySet

from audit.events import EventAction
from audit.models import AuditEvent

_NAMES = ("actor_name", "object_name", "segment_name")
_IDS = ("object_uuid", "job_id", "request_id")


@dataclass(frozen=True, slots=True)
class Told:
    """What one event tells of a change, for reckoning."""

    id: int
    at: datetime
    action: str
    object_id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def events_for_object(object_type: str, object_id: object) -> QuerySet[AuditEvent]:
    """What happened to one object: `("vm", vm.pk)`."""
    return AuditEvent.objects.filter(object_type=object_type, object_id=str(object_id)).order_by("-id")


def events_for_job(job_id: object) -> QuerySet[AuditEvent]:
    """What one job did and what became of it."""
    return AuditEvent.objects.filter(job_id=str(job_id)).order_by("-id")


def changes_after(moment: datetime, actions: Collection[EventAction]) -> list[Told]:
    """The changes of these kinds that were recorded after a moment, newest first."""
    return _told(_after(moment, actions))


def count_after(moment: datetime, actions: Collection[EventAction]) -> int:
    """How many there are of them: whether another one came while something else was read."""
    return _after(moment, actions).count()


def changes_of(
    moment: datetime, actions: Collection[EventAction], object_type: str, ids: Collection[int]
) -> list[Told]:
    """Those that were recorded after a moment about some objects of one type, newest first."""
    about = AuditEvent.objects.filter(object_type=object_type, object_id__in=[str(number) for number in ids])
    return _told(about.filter(at__gt=moment, action__in=actions))


def begins_at() -> datetime | None:
    """The time of the first event that the record holds; None while it holds none. What was before is not known."""
    return AuditEvent.objects.order_by("pk").values_list("at", flat=True).first()


def _after(moment: datetime, actions: Collection[EventAction]) -> QuerySet[AuditEvent]:
    # Ids grow with time, all but: so a time is a span of ids within the index of actions, and `at` decides.
    first = AuditEvent.objects.filter(at__gt=moment).aggregate(first=Min("pk"))["first"]
    if first is None:
        return AuditEvent.objects.none()
    return AuditEvent.objects.filter(action__in=actions, pk__gte=first, at__gt=moment)


def _told(events: QuerySet[AuditEvent]) -> list[Told]:
    columns = events.order_by("-pk").values_list("id", "at", "action", "object_id", "before", "after")
    return [
        Told(number, at, action, about, before or {}, after or {})
        for number, at, action, about, before, after in columns.iterator(chunk_size=2000)
    ]


def about_person(user_id: object) -> Q:
    """Which events tell what a person did, what was done for them, and what was done to their account."""
    wanted = str(user_id)
    return _any_of(
        AuditEvent.objects.filter(actor_id=wanted),
        AuditEvent.objects.filter(on_behalf_of_id=wanted),
        AuditEvent.objects.filter(object_type="user", object_id=wanted),
    )


def containing(term: str, most_names: int = 500) -> Q:
    """Which events have `term` in a person's, an object's or a segment's name, or as a whole UUID, job or request id.

    Case does not matter in names. The names are looked up first, each once, and then their events, so that a rare name
    is found among a million events at once. A term that is in more than `most_names` names is common: then the newest
    events that hold it are near the end, and reading them from there is faster.
    """
    whole = [AuditEvent.objects.filter(**{column: term}) for column in _IDS]
    by_name = []
    for column in _NAMES:
        names = [name for name in _distinct(column) if term.casefold() in name.casefold()]
        if len(names) > most_names:
            lookups = [(column, term) for column in _IDS] + [(f"{column}__icontains", term) for column in _NAMES]
            return Q(*lookups, _connector=Q.OR)
        if names:
            by_name.append(AuditEvent.objects.filter(**{f"{column}__in": names}))
    return _any_of(*whole, *by_name)


def _any_of(first: QuerySet[AuditEvent], *others: QuerySet[AuditEvent]) -> Q:
    # By their ids, which the indexes hold: an OR would make SQLite sort whole rows, or read the table through.
    ids = [events.order_by().values("pk") for events in (first, *others)]
    return Q(pk__in=ids[0].union(*ids[1:]))


def _distinct(column: str) -> list[str]:
    """The different values of an indexed column: one step in the index for each, not one for each event."""
    least = f"SELECT MIN({column}) FROM audit_auditevent"
    statement = (
        f"WITH RECURSIVE found(name) AS ({least} UNION ALL "
        f"SELECT ({least} WHERE {column} > found.name) FROM found WHERE found.name IS NOT NULL) "
        "SELECT name FROM found WHERE name IS NOT NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [str(name) for (name,) in cursor.fetchall()]
