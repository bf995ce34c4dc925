"""Reading the record. Newest first."""

# ruff: noqa: S608 (the statements are made of this file's constants)

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F, Min, Q, QuerySet, TextField
from django.db.models.functions import Cast

from audit.events import EventAction
from audit.models import AuditEvent

_NAMES = ("actor_name", "object_name", "segment_name")
_IDS = ("object_uuid", "job_id", "request_id")


class Told(NamedTuple):
    """What one event tells of a change, for reckoning: its documents are read when they are asked for."""

    id: int
    action: str
    object_id: str
    before_text: str | None = None
    after_text: str | None = None

    @property
    def before(self) -> Mapping[str, Any]:
        """What was; empty when the event does not say."""
        return json.loads(self.before_text) if self.before_text else {}

    @property
    def after(self) -> Mapping[str, Any]:
        """What is since; empty when the event does not say."""
        return json.loads(self.after_text) if self.after_text else {}


def events_for_object(object_type: str, object_id: object) -> QuerySet[AuditEvent]:
    """What happened to one object: `("vm", vm.pk)`."""
    return AuditEvent.objects.filter(object_type=object_type, object_id=str(object_id)).order_by("-id")


def events_for_job(job_id: object) -> QuerySet[AuditEvent]:
    """What one job did and what became of it."""
    return AuditEvent.objects.filter(job_id=str(job_id)).order_by("-id")


def first_after(moment: datetime) -> int | None:
    """The lowest id of the events that were recorded after a moment."""
    # The sum keeps a database from walking along the ids, through all that is older, instead of the index of times.
    found: int | None = AuditEvent.objects.filter(at__gt=moment).aggregate(first=Min(F("pk") + 0))["first"]
    return found


def changes_after(moment: datetime, first: int, actions: Collection[EventAction]) -> list[Told]:
    """The changes of these kinds that were recorded after a moment, newest first; `first` is `first_after` of it."""
    return _told(AuditEvent.objects.filter(action__in=actions, pk__gte=first, at__gt=moment))


def count_from(first: int, actions: Collection[EventAction]) -> int:
    """How many of them there are from that id on: whether another one came while something else was read."""
    return AuditEvent.objects.filter(action__in=actions, pk__gte=first).count()


def changes_of(
    moment: datetime, first: int, actions: Collection[EventAction], object_type: str, ids: Collection[int]
) -> list[Told]:
    """As `changes_after`, of some objects of one type."""
    if not ids:
        return []
    about = AuditEvent.objects.filter(object_type=object_type, object_id__in=[str(number) for number in ids])
    return _told(about.filter(action__in=actions, pk__gte=first, at__gt=moment))


def time_of(event: int) -> datetime:
    """When an event happened."""
    return AuditEvent.objects.values_list("at", flat=True).get(pk=event)


def told_of(action: EventAction, object_type: str, ids: Collection[int]) -> set[int]:
    """Those of some objects of one type of which the record tells that this happened to them."""
    about = AuditEvent.objects.filter(object_type=object_type, object_id__in=[str(number) for number in ids])
    return {int(number) for number in about.filter(action=action).order_by().values_list("object_id", flat=True)}


def begins_at() -> datetime | None:
    """The time of the first event that the record holds; None while it holds none. What was before is not known."""
    return AuditEvent.objects.order_by("pk").values_list("at", flat=True).first()


def _told(events: QuerySet[AuditEvent]) -> list[Told]:
    # As text: decoding every document of tens of thousands of events would take longer than all the rest.
    texts = {f"{name}_text": Cast(name, TextField()) for name in ("before", "after")}
    rows = events.annotate(**texts).order_by("-pk").values_list("id", "action", "object_id", *texts)
    return list(map(Told._make, rows))


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
