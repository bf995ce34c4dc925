"""The record and its seals."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.formats import localize
from django.utils.timezone import localtime

from audit.models import AuditEvent, AuditSeal
from portal.admin.base import ReadOnlyAdmin, as_text


class AuditEvents(ReadOnlyAdmin):
    list_display = ["at", "action", "outcome", "actor_name", "object_type", "object_name", "segment_name", "via"]
    list_display_links = ["at", "action"]
    list_filter = ["at", "outcome", "via", "actor_kind", "action"]
    search_fields = [
        "actor_name", "object_name", "segment_name", "object_uuid__exact", "job_id__exact", "request_id__exact"
    ]  # fmt: skip
    search_help_text = "Part of a person's, an object's or a segment's name; or a whole UUID, job id or request id."
    sortable_by = ()  # newest first, by the key: any other order would read the whole record
    fieldsets = [
        (None, {"fields": ["id", "at", "action", "outcome", "reason", "seal"]}),
        ("Who", {"fields": ["actor_kind", "actor_name", "actor_id", "on_behalf_of_name", "on_behalf_of_id"]}),
        ("By which door", {"fields": ["via", "token_id", "source_address", "request_id", "job_id"]}),
        ("What", {"fields": ["object_type", "object_name", "object_id", "object_uuid"]}),
        ("In which segment", {"fields": ["segment_name", "segment_id"]}),
        ("Facts", {"fields": ["before_text", "after_text", "detail_text"]}),
    ]
    readonly_fields = ["seal", "before_text", "after_text", "detail_text"]

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


class AuditSeals(ReadOnlyAdmin):
    list_display = ["sequence", "event_id", "sealed_at", "key_id", "mac"]
    search_fields = ["event_id__exact", "sequence__exact"]
    search_help_text = "An event's id or a seal's number."
    sortable_by = ()
    fields = ["sequence", "event_id", "sealed_at", "key_id", "previous_mac", "mac"]

    def record_query(self, found: AuditSeal) -> dict[str, Any]:
        return {"id": found.event_id}
