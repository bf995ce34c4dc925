"""Jobs and their steps."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.models import Job, Step
from jobs.operations.registry import OPERATIONS
from portal.admin.base import ReadOnlyAdmin, ReadOnlyInline, as_text


class OperationFilter(admin.SimpleListFilter):
    """By the known operations, without asking the table which it holds."""

    title = "operation"
    parameter_name = "operation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted(OPERATIONS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(operation=self.value()) if self.value() else queryset


class StepsOfJob(ReadOnlyInline):
    model = Step
    fields = ["position", "phase", "title", "state", "started_at", "finished_at", "detail"]
    show_change_link = False


class Jobs(ReadOnlyAdmin):
    """What was asked, by whom, and what became of it. The journal is the workers' own, and stays out."""

    list_display = ["created_at", "operation", "target_name", "state", "requester_name", "finished_at", "error_code"]
    list_display_links = ["created_at", "operation"]
    list_filter = ["state", OperationFilter, "created_at"]
    search_fields = ["target_name", "requester_name", "id", "request_id__exact"]
    search_help_text = "Part of the target's or the requester's name; part of a job id; or a whole request id."
    sortable_by = ["created_at", "finished_at"]
    fields = [
        "id", "operation", "target_name", "vm", "host", "cluster", "params_text", "requester_name", "requested_by",
        "request_id", "state", "created_at", "started_at", "finished_at", "attempts", "worker", "cancel_requested_at",
        "cancel_requested_by", "result_text", "error_code", "error_message", "traceback",
    ]  # fmt: skip
    readonly_fields = ["params_text", "result_text"]
    inlines = [StepsOfJob]

    @admin.display(description="Parameters")
    def params_text(self, job: Job) -> str:
        return as_text(job.params)

    @admin.display(description="Result")
    def result_text(self, job: Job) -> str:
        return as_text(job.result)

    def record_query(self, found: Job) -> dict[str, str]:
        return {"job_id": str(found.pk)}


class Steps(ReadOnlyAdmin):
    list_display = ["job", "position", "title", "state", "started_at", "finished_at"]
    list_filter = ["state", "started_at"]
    list_select_related = ["job"]
    search_fields = ["title", "job__target_name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(job__in=Job.objects.visible_to(request.user))

    def record_query(self, found: Step) -> dict[str, str]:
        return {"job_id": str(found.job_id)}
