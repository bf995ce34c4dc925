"""Changing a migration while it runs."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from django.urls import reverse

from access import gate
from access.actions import Action
from jobs.controls import BEFORE_THE_SWITCH, control_ask
from jobs.models import Control, Job
from jobs.operations.registry import operation_named
from jobs.states import State
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.base import PortalForm
from portal.pages.forms.job_controls import BandwidthForm
from portal.pages.wording import length_words

Verb = Control.Verb


def offered(job: Job) -> list[Control.Verb]:
    """The controls that make sense now; the service decides again."""
    if job.state != State.RUNNING or job.phase not in BEFORE_THE_SWITCH:
        return []
    armed = job.params.get("policy") == "assured"
    return [verb for verb in Verb if verb is not Verb.START_POST_COPY or armed]


def rest_words(progress: dict[str, Any]) -> str:
    """How long the guest would stand still if it switched now; "" while that is not known."""
    remaining, speed = progress.get("remaining_bytes"), progress.get("bps")
    return length_words(remaining / speed) if remaining and speed else ""


class ControlJob(ServicePage):
    """Asks for one change; the worker that follows the migration carries it out."""

    declared_action = Action.VIEW
    section = "jobs"
    body_template = "jobs/forms/control.html"

    def prepare(self) -> None:
        if self.kwargs["verb"].replace("-", "_") not in Verb.values:
            raise Http404
        self.verb = Verb(self.kwargs["verb"].replace("-", "_"))
        self.job: Job = visible_or_404(self.request, Job.objects.select_related("vm", "host"), self.kwargs["pk"])
        gate.authorise(self.request.user, operation_named(self.job.operation).action, self.job.target)  # type: ignore[arg-type]

    def get_form_class(self) -> type[PortalForm]:
        return BandwidthForm if self.verb is Verb.SET_BANDWIDTH else PortalForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        facts = {"heading": self.verb.label, "submit_label": self.verb.label, "verb": self.verb.value}
        is_dangerous = self.verb is not Verb.SET_BANDWIDTH
        rest = rest_words(self.job.progress)
        return super().get_context_data(job=self.job, rest=rest, is_dangerous=is_dangerous, **facts, **kwargs)

    def subject(self) -> str:
        return self.job.label

    def back_url(self) -> str:
        return reverse("job-detail", args=[self.job.pk])

    def perform(self, form: PortalForm) -> str:
        value = form.cleaned_data.get("value")
        control_ask(actor=self.request.user, job=self.job, verb=self.verb, value=value)  # type: ignore[arg-type]
        return self.back_url()
