"""Reading the record. Newest first."""

from __future__ import annotations

from django.db.models import QuerySet

from audit.models import AuditEvent


def events_for_object(object_type: str, object_id: object) -> QuerySet[AuditEvent]:
    """What happened to one object: `("vm", vm.pk)`."""
    return AuditEvent.objects.filter(object_type=object_type, object_id=str(object_id)).order_by("-id")


def events_for_job(job_id: object) -> QuerySet[AuditEvent]:
    """What one job did and what became of it."""
    return AuditEvent.objects.filter(job_id=str(job_id)).order_by("-id")
