"""The first page: what needs somebody, what is being worked on, and how fresh all this is."""

from __future__ import annotations

from typing import Any

from django.db.models import Max, Min

from inventory.models import VM, Host
from jobs.models import Job
from portal.declared import SIGNED_IN
from portal.pages.attention import findings, segment_rows, vm_counts
from portal.pages.base import Page

#: Rows of each list on the page.
SHOWN = 8


class Dashboard(Page):
    """The estate of one user at a glance."""

    declared_action = SIGNED_IN
    section = "dashboard"
    template_name = "dashboard/page.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        counts = vm_counts(user)
        hosts = Host.objects.visible_to(user)
        return super().get_context_data(
            counts=counts,
            findings=findings(user, counts),
            segments=segment_rows(user),
            host_count=hosts.count(),
            hosts_online=hosts.filter(connection=Host.Connection.ONLINE).count(),
            freshness=_freshness(user),
            recent_jobs=_jobs(user).filter(finished_at__isnull=False).order_by("-finished_at")[:SHOWN],
            **working(user),
            **kwargs,
        )


class WorkingNow(Page):
    """The part of the dashboard that shows work in progress, refreshed by htmx."""

    declared_action = SIGNED_IN
    template_name = "dashboard/_working.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**working(self.request.user), **kwargs)


def working(user: Any) -> dict[str, Any]:
    """Jobs that are not over: the first few, and how many there are."""
    jobs = _jobs(user).unfinished()
    count = jobs.count()
    shown = list(jobs.order_by("-created_at")[:SHOWN])
    return {"working": shown, "working_count": count, "working_more": count - len(shown)}


def _jobs(user: Any) -> Any:
    return Job.objects.visible_to(user).select_related("vm", "host", "cluster", "requested_by")


def _freshness(user: Any) -> dict[str, Any]:
    """The newest and the oldest observation among the user's VMs that are seen at all."""
    seen: dict[str, Any] = (
        VM.objects.visible_to(user)
        .filter(missing_since=None)
        .aggregate(newest=Max("observed_at"), oldest=Min("observed_at"))
    )
    return seen
