"""Second looks: access asked for, work that waited for somebody, and work that went ahead without."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from access.models import AccessRequest
from inventory.models import Segment
from jobs.models import Approval, BrokenGlass, Job
from portal.admin.base import Acknowledged, ReadOnlyAdmin
from portal.admin.work import OperationFilter


class StillOpen(admin.SimpleListFilter):
    """Whether somebody can still decide: what waits past its time has ended, whatever its row says."""

    title = "still open"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("late", "Nobody decided in time")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now, waiting = timezone.now(), queryset.filter(verdict="waiting")
        if self.value() == "yes":
            return waiting.filter(expires_at__gt=now)
        if self.value() == "late":
            expired = queryset.filter(verdict="expired") if queryset.model is Approval else queryset.none()
            return waiting.filter(expires_at__lte=now) | expired
        return queryset


class DecidedByRequester(admin.SimpleListFilter):
    """Must always be empty: whoever asks does not decide."""

    title = "decided by who asked"
    parameter_name = "own"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        asked = "user" if queryset.model is AccessRequest else "job__requested_by"
        return queryset.filter(~Q(verdict="withdrawn"), decided_by=F(asked))


class AccessRequests(ReadOnlyAdmin):
    """Access for a while: who asked for what, why, and who gave it or turned it down."""

    list_display = [
        "created_at",
        "user",
        "role",
        "scope_label",
        "hours",
        "verdict",
        "decided_by",
        "decided_at",
        "reason",
    ]
    list_display_links = ["created_at", "user"]
    list_filter = ["verdict", StillOpen, DecidedByRequester, "role", "created_at"]
    list_select_related = ["user", "role", "decided_by", "segment", "vm", "host", "cluster"]
    search_fields = [
        "user__username", "decided_by__username", "segment__name", "vm__name", "host__name", "cluster__name", "reason",
        "note",
    ]  # fmt: skip
    search_help_text = "Part of a user name, of what was asked for, of the reason or of the note."
    sortable_by = ["created_at", "decided_at", "hours"]
    fields = [
        "user", "role", "segment", "vm", "host", "cluster", "hours", "reason", "created_at", "expires_at", "verdict",
        "decided_by", "decided_at", "note", "grant",
    ]  # fmt: skip

    @admin.display(description="On")
    def scope_label(self, request: AccessRequest) -> str:
        return request.scope_label


class OfJob(ReadOnlyAdmin):
    """What is told of one job."""

    list_select_related = ["job"]

    @admin.display(description="Job")
    def what(self, found: Any) -> str:
        return str(found.job)

    @admin.display(description="Asked by")
    def asked_by(self, found: Any) -> str:
        return str(found.job.requester_name)

    @admin.display(description="Became of it")
    def state(self, found: Any) -> str:
        return str(found.job.get_state_display())

    def record_query(self, found: Any) -> dict[str, str]:
        return {"object_type": "job", "object_id": str(found.job_id)}


class Approvals(OfJob):
    """Four eyes: what waited for a second person, and what they decided."""

    list_display = ["expires_at", "what", "asked_by", "verdict", "decided_by", "decided_at", "state", "reason"]
    list_display_links = ["expires_at", "what"]
    list_filter = ["verdict", StillOpen, DecidedByRequester, "decided_at"]
    list_select_related = ["job", "decided_by"]
    search_fields = ["job__target_name", "job__requester_name", "decided_by__username", "reason"]
    search_help_text = "Part of the target's name, of either person's user name, or of the reason."
    sortable_by = ["expires_at", "decided_at"]
    fields = [
        "job", "asked_by", "state", "expires_at", "verdict", "decided_by", "decided_at", "reason", "digest",
    ]  # fmt: skip
    readonly_fields = ["asked_by", "state"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        return super().get_queryset(request).filter(job__in=Job.objects.visible_to(request.user))


class BrokenGlasses(OfJob):
    """Work that went ahead without the approval it needed, and who took note of it."""

    list_display = ["when", "what", "asked_by", "reason", "acknowledged_by", "acknowledged_at", "note"]
    list_display_links = ["when", "what"]
    list_filter = [Acknowledged, "job__created_at"]
    list_select_related = ["job", "acknowledged_by"]
    search_fields = ["job__target_name", "job__requester_name", "acknowledged_by__username", "reason", "note"]
    search_help_text = "Part of the target's name, of either person's user name, of the reason or of the note."
    sortable_by = ["when", "acknowledged_at"]
    fields = ["job", "asked_by", "when", "state", "reason", "acknowledged_by", "acknowledged_at", "note"]
    readonly_fields = ["asked_by", "when", "state"]

    @admin.display(description="When", ordering="job__created_at")
    def when(self, broken: BrokenGlass) -> Any:
        return broken.job.created_at


class ApprovalRules(ReadOnlyAdmin):
    """Which operations need a second person, segment by segment."""

    list_display = ["segment", "operation"]
    list_display_links = ["segment", "operation"]
    list_filter = [OperationFilter]
    list_select_related = ["segment"]
    search_fields = ["segment__name", "operation"]
    fields = ["segment", "operation"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(segment__in=Segment.objects.visible_to(request.user))

    def record_query(self, found: Any) -> dict[str, str]:
        return {"object_type": "segment", "object_id": str(found.segment_id)}
