"""Jobs: the list, and one job followed live."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django_htmx.http import HTMX_STOP_POLLING

from access import gate
from access.actions import Action
from inventory.models import VM
from jobs.models import Curve, Job
from jobs.operations.migrate.surroundings import MIGRATE
from jobs.operations.registry import operation_named
from jobs.plan_told import plan_told
from jobs.roster import has_roster, roster
from jobs.services import job_cancel
from jobs.states import TERMINAL, State
from portal.declared import SIGNED_IN
from portal.pages import job_controls, job_facts
from portal.pages.approval_facts import may_decide
from portal.pages.base import ListPage, Page, ServicePage, visible_or_404
from portal.pages.forms.base import PortalForm
from portal.pages.forms.job_filter import JobFilter
from portal.pages.host_picture import picture
from portal.pages.job_stages import announcement, is_post_copy, stages
from portal.pages.migration_chart import Chart, chart

_RELATED = ("vm", "host", "cluster", "requested_by", "approval__decided_by", "broken_glass__acknowledged_by")


class JobList(ListPage):
    """The jobs on what the user sees, newest first."""

    declared_action = SIGNED_IN
    section = "jobs"
    template_name = "jobs/list.html"
    fragment_name = "jobs/_results.html"

    def get_queryset(self) -> QuerySet[Job]:
        self.filter = JobFilter(self.request.GET or None)
        jobs = Job.objects.visible_to(self.request.user).select_related(*_RELATED).order_by("-created_at", "id")
        return self.filter.apply(jobs) if self.filter.is_bound else jobs

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(filter=self.filter, vm=self._vm(), **kwargs)

    def _vm(self) -> VM | None:
        """The VM whose jobs are asked for, to name it."""
        chosen = self.filter.cleaned_data.get("vm") if self.filter.is_bound and self.filter.is_valid() else None
        return VM.objects.visible_to(self.request.user).filter(pk=chosen).first() if chosen else None


def shown(job: Job, user: Any) -> dict[str, Any]:
    """Everything the live part of a job's page shows."""
    found = roster(user, job) if has_roster(job) else None
    return {
        "job": job,
        "roster": found,
        "columns": picture(user, job, found) if found is not None else [],
        "stages": stages(job),
        "figures": job_facts.figures(job.progress) if not job.is_over else [],
        "rates": job_facts.rates(job.progress) if not job.is_over else None,
        "is_post_copy": is_post_copy(job),
        "asked_for": job_facts.asked_for(job),
        "told": plan_told(user, job.journal["plan"]) if "plan" in job.journal else None,
        "downtime_words": job_facts.downtime_words(job.result),
        "groups": job_facts.step_groups(list(job.steps.order_by("position"))),
        "announcement": announcement(job),
        "seen": seen_mark(job),
        "may_cancel": may_cancel(job, user),
        "chart": _chart(job),
        "controls": list(job.controls.all()) if job.operation == MIGRATE else [],
        "offered": job_controls.offered(job) if job.operation == MIGRATE and may_cancel(job, user) else [],
        "may_repeat": job.vm is not None and gate.can(user, operation_named(job.operation).action, job.vm),
        "may_decide": may_decide(job, user),
    }


def _chart(job: Job) -> Chart | None:
    """The course of a migration, once there is enough of it."""
    curve = Curve.objects.filter(job=job).first() if job.operation == MIGRATE else None
    return chart(curve.points) if curve is not None else None


def may_cancel(job: Job, user: Any) -> bool:
    """Whether to offer the cancel button."""
    if job.is_over or job.state == State.CANCELLING or job.cancel_requested_at is not None:
        return False
    return gate.can(user, operation_named(job.operation).action, job.target)


def seen_mark(job: Job) -> str:
    """Changes whenever something that the live part shows has changed."""
    last = job.steps.order_by("-position").values_list("position", "state").first()
    parts = list(job.parts.order_by("pk").values_list("pk", "state", "percent", "vm__host")) if job.host_id else []
    wishes = list(job.controls.order_by("pk").values_list("pk", "outcome")) if job.operation == MIGRATE else []
    facts = (
        wishes,
        job.state,
        job.phase,
        job.percent,
        job.cancel_requested_at,
        last,
        sorted(job.progress.items()),
        parts,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


class JobDetail(Page):
    """One job: where it is, what it found, how it ended."""

    declared_action = Action.VIEW
    section = "jobs"
    template_name = "jobs/detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        job = visible_or_404(self.request, Job.objects.select_related(*_RELATED), self.kwargs["pk"])
        return super().get_context_data(**shown(job, self.request.user), title=job.label, **kwargs)


class JobLive(Page):
    """The live part, asked for every second: 204 while nothing changed, 286 once it is over (htmx then stops)."""

    declared_action = Action.VIEW
    template_name = "jobs/_live.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.job: Job = visible_or_404(request, Job.objects.select_related(*_RELATED), kwargs["pk"])
        if self.job.state not in TERMINAL and request.GET.get("seen") == seen_mark(self.job):
            return HttpResponse(status=204)
        response = super().get(request, *args, **kwargs)
        if self.job.state in TERMINAL:
            response.status_code = HTMX_STOP_POLLING
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        heard = self.request.GET.get("heard", "")
        facts = shown(self.job, self.request.user)
        return super().get_context_data(**facts, is_update=True, is_news=heard != facts["announcement"], **kwargs)


class CancelJob(ServicePage):
    """Cancels a job that waits, or asks a running one to stop."""

    declared_action = Action.VIEW
    section = "jobs"
    form_class = PortalForm
    heading = "Cancel this job?"
    submit_label = "Cancel the job"
    is_dangerous = True
    body_template = "jobs/forms/cancel.html"

    def prepare(self) -> None:
        self.job: Job = visible_or_404(self.request, Job.objects.select_related(*_RELATED), self.kwargs["pk"])
        gate.authorise(self.request.user, operation_named(self.job.operation).action, self.job.target)  # type: ignore[arg-type]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(job=self.job, **kwargs)

    def subject(self) -> str:
        return self.job.label

    def back_url(self) -> str:
        return reverse("job-detail", args=[self.job.pk])

    def perform(self, form: PortalForm) -> str:
        job_cancel(actor=self.request.user, job=self.job)  # type: ignore[arg-type]
        return self.back_url()
