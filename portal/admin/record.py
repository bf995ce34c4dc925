"""The record and its seals."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, register_converter, reverse
from django.urls.converters import StringConverter
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.timezone import localtime
from django.views.decorators.http import require_POST

from access import gate
from access.actions import Action
from audit.canonical import instant
from audit.events import EventAction
from audit.models import AuditEvent, AuditSeal
from audit.record import Target, record_alone
from audit.sign_in import sign_in_of
from portal.admin import searches
from portal.admin.access_form import KINDS
from portal.admin.base import ReadOnlyAdmin, as_text
from portal.admin.exports import FORMATS, Download, export
from portal.admin.narrow import Narrow, NarrowForm, searched


class _Format(StringConverter):
    regex = "|".join(FORMATS)


register_converter(_Format, "export_format")


class AuditEvents(ReadOnlyAdmin):
    """The events: found by one index each, read and exported on the record."""

    class Media:
        css = {"all": ["css/auditors.css"]}

    list_display = ["at", "action", "outcome", "actor_name", "object_type", "object_name", "segment_name", "via"]
    list_display_links = ["at", "action"]
    list_filter = [Narrow]
    search_fields = ["actor_name"]  # shows the box; `get_search_results` says where it looks
    search_help_text = "Part of a person's, an object's or a segment's name; or a whole UUID, job id or request id."
    sortable_by = ()  # newest first, by the key: any other order would read the whole record
    fieldsets = [
        (None, {"fields": ["id", "at", "action", "outcome", "reason", "seal"]}),
        ("Who", {"fields": ["actor_kind", "actor_name", "actor_id", "on_behalf_of_name", "on_behalf_of_id"]}),
        ("By which door", {"fields": ["via", "sign_in", "token_id", "source_address", "request_id", "job_id"]}),
        ("What", {"fields": ["object_type", "object_name", "object_id", "object_uuid"]}),
        ("In which segment", {"fields": ["segment_name", "segment_id"]}),
        ("Timelines", {"fields": ["timelines"]}),
        ("Facts", {"fields": ["before_text", "after_text", "detail_text"]}),
    ]
    readonly_fields = ["seal", "sign_in", "timelines", "before_text", "after_text", "detail_text"]

    def get_urls(self) -> list[URLPattern]:
        exports = self.admin_site.admin_view(self.export_view, also=Action.EXPORT)
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        guard = self.admin_site.admin_view
        return [
            path("export/<export_format:form>/", exports, name=name),
            path("searches/save/", guard(require_POST(searches.save_view)), name="search_save"),
            path("searches/<int:pk>/forget/", guard(require_POST(searches.forget_view)), name="search_forget"),
            *super().get_urls(),
        ]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the form asks: any other condition could read the whole record."""
        return lookup in NarrowForm.base_fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        return searched(queryset, search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list. That it was read, and with which question, is recorded before it is shown."""
        if request.method != "GET":
            raise PermissionDenied  # there is nothing to send; and what was read by it would not be recorded
        may_export = gate.can(request.user, Action.EXPORT)  # type: ignore[arg-type]
        context = {**(extra_context or {}), "may_export": may_export, **searches.shown(request)}
        answer = super().changelist_view(request, context)
        if answer.status_code == 200:
            query = {name: value for name, value in request.GET.items() if value}
            record_alone(EventAction.AUDIT_READ, detail={"page": "list", "query": query})
        return answer

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One event. That it was read is recorded before it is shown."""
        answer = super().change_view(request, object_id, form_url, extra_context)
        if answer.status_code == 200:
            record_alone(
                EventAction.AUDIT_READ, target=Target(type="audit_event", id=object_id), detail={"page": "event"}
            )
        return answer

    def export_view(self, request: HttpRequest, form: str) -> Download:
        """The events of the list with these filters, as a file. Raises BadRequest for filters that make no sense."""
        try:
            shown = self.get_changelist_instance(request)
        except IncorrectLookupParameters as error:
            raise BadRequest from error
        if not all(spec.form.is_valid() for spec in shown.filter_specs):
            raise BadRequest
        return export(request, form, shown.queryset, {name: value for name, value in shown.params.items() if value})

    @admin.display(description="Everything about")
    def timelines(self, event: AuditEvent) -> str:
        """Links to the events of the same object, people, job and request."""
        events = reverse("admin:audit_auditevent_changelist", current_app=self.admin_site.name)
        links = [(f"{events}?{urlencode(query)}", text) for text, query in _timelines(event)]
        if event.object_type in dict(KINDS):
            matrix = reverse("admin:access_matrix", current_app=self.admin_site.name)
            query = {"kind": event.object_type, "name": event.object_name, "at": instant(event.at)}
            links.append((f"{matrix}?{urlencode(query)}", "who might do what with it then"))
        return format_html_join(" · ", '<a href="{}">{}</a>', links) or self.get_empty_value_display()

    @admin.display(description="Sign-in")
    def sign_in(self, event: AuditEvent) -> str:
        return str(sign_in_of(event).label)

    @admin.display(description="Sealed")
    def seal(self, event: AuditEvent) -> str:
        seal = AuditSeal.objects.filter(event_id=event.pk).first()
        return f"as number {seal.sequence}, at {localize(localtime(seal.sealed_at))}" if seal else "not yet"

    @admin.display(description="Before")
    def before_text(self, event: AuditEvent) -> str:
        return as_text(event.before)

    @admin.display(description="After")
    def after_text(self, event: AuditEvent) -> str:
        return as_text(event.after)

    @admin.display(description="Detail")
    def detail_text(self, event: AuditEvent) -> str:
        return as_text(event.detail)

    def record_query(self, found: AuditEvent) -> dict[str, str]:
        return {"object_type": found.object_type, "object_id": found.object_id}


def _timelines(event: AuditEvent) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    if event.object_uuid:
        found.append((f"{event.object_type} {event.object_name}", {"object_uuid": event.object_uuid}))
    elif event.object_id:
        query = {"object_type": event.object_type, "object_id": event.object_id}
        found.append((f"{event.object_type} {event.object_name}", query))
    people = {event.actor_id: event.actor_name, event.on_behalf_of_id: event.on_behalf_of_name}
    found += [(name or f"person {number}", {"person": number}) for number, name in people.items() if number]
    if event.segment_id:
        found.append((f"segment {event.segment_name}", {"segment_id": event.segment_id}))
    if event.job_id:
        found.append((f"job {event.job_id}", {"job_id": event.job_id}))
    if event.request_id:
        found.append((f"request {event.request_id}", {"request_id": event.request_id}))
    return found


class AuditSeals(ReadOnlyAdmin):
    list_display = ["sequence", "event_id", "sealed_at", "key_id", "mac"]
    search_fields = ["event_id__exact", "sequence__exact"]
    search_help_text = "An event's id or a seal's number."
    sortable_by = ()
    fields = ["sequence", "event_id", "sealed_at", "key_id", "previous_mac", "mac"]

    def record_query(self, found: AuditSeal) -> dict[str, Any]:
        return {"id": found.event_id}
