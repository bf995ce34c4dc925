"""Finding events among a million: the filters of the auditors' list, each of which reads one index, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, Max, Min, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.text import smart_split, unescape_string_literal

from audit.events import ActorKind, EventAction, Outcome, Via
from audit.models import AuditEvent
from audit.selectors import about_person, containing

#: The filters that compare one column, the most selective first. The first one that is given chooses the index; the
#: others are compared row by row. (Without statistics a database can't know that "refused" is rare and "ok" is not.)
COLUMNS = {
    "id": "id",
    "request_id": "request_id",
    "job_id": "job_id",
    "object_uuid": "object_uuid",
    "object_id": "object_id",
    "object_name": "object_name",
    "outcome": "outcome",
    "who": "actor_name",
    "segment_id": "segment_id",
    "segment": "segment_name",
    "action": "action",
    "object_type": "object_type",
    "via": "via",
    "actor_kind": "actor_kind",
}
#: What is too common to choose the index by.
COMMON = (Outcome.OK, Outcome.INTENT)


def _choice(label: str, choices: list[tuple[str, str]]) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=[("", "Any"), *choices], required=False)


def _text(label: str, **options: Any) -> forms.CharField:
    return forms.CharField(label=label, max_length=255, required=False, **options)


def _time(label: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput(attrs={"placeholder": "2026-01-31 08:00"}, format="%Y-%m-%d %H:%M:%S")
    return forms.DateTimeField(label=label, required=False, widget=widget)


class NarrowForm(forms.Form):
    """What an auditor asks for. Links give the fields that are hidden."""

    since = _time("From (UTC)")
    until = _time("Before (UTC)")
    who = _text("Who (whole name)")
    action = _choice("Action", list(EventAction.choices))
    outcome = _choice("Outcome", list(Outcome.choices))
    object_type = _text("Type of object (vm, host, grant …)")
    object_name = _text("Object (whole name)")
    object_uuid = _text("Object's UUID")
    segment = _text("Segment (whole name)")
    job_id = _text("Job id")
    request_id = _text("Request id")
    via = _choice("By which door", list(Via.choices))
    actor_kind = _choice("Kind of actor", list(ActorKind.choices))
    id = forms.IntegerField(required=False, max_value=2**63 - 1, min_value=0, widget=forms.HiddenInput)
    object_id = _text("Object's id", widget=forms.HiddenInput)
    segment_id = _text("Segment's id", widget=forms.HiddenInput)
    person = _text("Person's id", widget=forms.HiddenInput)


class Narrow(admin.ListFilter):
    """All filters in one form."""

    title = "what you look for"
    template = "auditors/narrow.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name)[-1].strip() for name in NarrowForm.base_fields if name in params}
        self.used_parameters = {name: value for name, value in given.items() if value}
        self.form = NarrowForm(self.used_parameters)
        self.search = request.GET.get("q", "")

    def has_output(self) -> bool:
        """Always shown."""
        return True

    def expected_parameters(self) -> list[str]:
        """The parameters that are its own."""
        return list(NarrowForm.base_fields)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """None: it is a form."""
        return iter(())

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        """The events that were asked for; none when the question makes no sense."""
        return narrowed(queryset, self.form.cleaned_data) if self.form.is_valid() else queryset.none()


def narrowed(events: QuerySet[AuditEvent], asked: dict[str, Any]) -> QuerySet[AuditEvent]:
    """The events that the form's fields describe."""
    given = {column: asked[name] for name, column in COLUMNS.items() if asked[name] not in (None, "")}
    first = next((column for column in given if given[column] not in COMMON), next(iter(given), None))
    # An object's id names one only together with its type, and the two share an index.
    leading = {"object_id", "object_type"} if first == "object_id" else {first}
    person = asked["person"]
    if person:
        events = events.filter(about_person(person))
        leading = set()
    for column, value in given.items():
        events = events.filter(**{column: value}) if column in leading else _compared(events, column, value)
    return _between(events, asked["since"], asked["until"])


def searched(events: QuerySet[AuditEvent], words: str) -> QuerySet[AuditEvent]:
    """The events in which each word is found; what stands in quotation marks is one word."""
    for word in smart_split(words):
        quoted = len(word) > 1 and word[0] in "\"'" and word[0] == word[-1]
        term = unescape_string_literal(word) if quoted else word
        if term:
            events = events.filter(containing(term))
    return events


def _compared(events: QuerySet[AuditEvent], column: str, value: Any, lookup: str = "exact") -> QuerySet[AuditEvent]:
    """Compare a column so that no index is used for it."""
    name = f"plain_{column}_{lookup}"
    return events.alias(**{name: Coalesce(F(column), F(column))}).filter(**{f"{name}__{lookup}": value})


def _between(events: QuerySet[AuditEvent], since: Any, until: Any) -> QuerySet[AuditEvent]:
    """Those of a time. Ids grow with time, all but, so that a time is a span of ids, within any of the indexes."""
    times = {"gte": since, "lt": until}
    bounds = {f"at__{lookup}": moment for lookup, moment in times.items() if moment is not None}
    if not bounds:
        return events
    span = AuditEvent.objects.filter(**bounds).order_by().aggregate(first=Min("pk"), last=Max("pk"))
    if span["first"] is None:
        return events.none()
    events = events.filter(pk__gte=span["first"], pk__lte=span["last"])
    for lookup, moment in times.items():
        if moment is not None:
            events = _compared(events, "at", moment, lookup)
    return events
