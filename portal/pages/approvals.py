"""Four eyes in the portal: what waits for a second person, deciding on it, and what went ahead without one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404
from django.urls import reverse
from django.utils import timezone

from access import gate
from access.actions import Action
from access.models import AccessRequest
from access.models.grants import SCOPES
from inventory.models import Segment
from jobs.approvals import approval_rules_set, authorise_decision, broken_glass_acknowledge, job_approve, job_reject
from jobs.models import BrokenGlass, Job
from jobs.states import State
from portal.declared import SIGNED_IN
from portal.pages.approval_facts import may_decide, touched
from portal.pages.base import Page, ServicePage, visible_or_404
from portal.pages.forms.approvals import NoteForm, ReasonForm, RulesForm
from portal.pages.job_facts import asked_for

_RELATED = ("vm__segment", "vm__host", "host", "cluster", "requested_by", "approval__decided_by", "broken_glass")


class Approvals(Page):
    """What waits for a decision, and what went ahead without one."""

    declared_action = SIGNED_IN
    section = "approvals"
    template_name = "approvals/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        waiting = Job.objects.filter(state=State.AWAITING_APPROVAL).order_by("approval__expires_at")
        asked = AccessRequest.objects.filter(verdict=AccessRequest.Verdict.WAITING, expires_at__gt=timezone.now())
        broken = BrokenGlass.objects.visible_to(user).filter(acknowledged_at=None)
        return super().get_context_data(
            waiting=[
                (job, theirs and (job.vm is not None or may_decide(job, user)))
                for job, theirs in decidable(waiting.select_related(*_RELATED), user, "requested_by_id")
            ],
            asked=decidable(asked.select_related("user", "role", *SCOPES), user, "user_id"),
            broken=broken.select_related("job__vm", "job__requested_by"),
            may_acknowledge=gate.can(user, Action.READ_AUDIT),
            **kwargs,
        )


def decidable(waiting: QuerySet[Any], user: Any, asker: str) -> list[tuple[Any, bool]]:
    """What waits and the user sees, and of each whether it is theirs to decide. By two SQL statements."""
    scoped: Any = waiting
    theirs = set(scoped.visible_to(user, Action.APPROVE).exclude(**{asker: user.pk}).values_list("pk", flat=True))
    return [(row, row.pk in theirs) for row in scoped.visible_to(user)]


class Decision(ServicePage):
    """A form about a job that waits."""

    declared_action = Action.VIEW
    section = "approvals"
    body_template = "approvals/forms/decide.html"

    def prepare(self) -> None:
        self.job: Job = visible_or_404(self.request, Job.objects.select_related(*_RELATED), self.kwargs["pk"])
        authorise_decision(self.request.user, self.job)  # type: ignore[arg-type]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(
            job=self.job, touched=touched(self.job, self.request.user), asked_for=asked_for(self.job), **kwargs
        )

    def subject(self) -> str:
        return self.job.label

    def back_url(self) -> str:
        return reverse("job-detail", args=[self.job.pk])


class ApproveJob(Decision):
    """Lets it go ahead."""

    form_class = NoteForm
    heading = "Approve this work?"
    submit_label = "Approve"

    def perform(self, form: NoteForm) -> str:
        job_approve(actor=self.request.user, job=self.job, reason=form.cleaned_data["note"])  # type: ignore[arg-type]
        return self.back_url()


class RejectJob(Decision):
    """Turns it down, with a reason."""

    form_class = ReasonForm
    heading = "Turn this work down?"
    submit_label = "Turn down"
    is_dangerous = True

    def perform(self, form: ReasonForm) -> str:
        job_reject(actor=self.request.user, job=self.job, reason=form.cleaned_data["reason"])  # type: ignore[arg-type]
        return self.back_url()


class AcknowledgeBrokenGlass(ServicePage):
    """An auditor takes note of work that went ahead without approval."""

    declared_action = Action.READ_AUDIT
    section = "approvals"
    form_class = NoteForm
    heading = "Acknowledge work without approval"
    submit_label = "Acknowledge"
    body_template = "approvals/forms/acknowledge.html"

    def prepare(self) -> None:
        gate.authorise(self.request.user, Action.READ_AUDIT)  # type: ignore[arg-type]
        found = BrokenGlass.objects.select_related("job__vm").filter(pk=self.kwargs["pk"]).first()
        if found is None:
            raise Http404
        self.broken: BrokenGlass = found

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(broken=self.broken, **kwargs)

    def subject(self) -> str:
        return self.broken.job.label

    def back_url(self) -> str:
        return reverse("approvals")

    def perform(self, form: NoteForm) -> str:
        actor: Any = self.request.user
        broken_glass_acknowledge(actor=actor, broken=self.broken, note=form.cleaned_data["note"])
        return self.back_url()


class SegmentRules(ServicePage):
    """Which operations need a second person in a segment."""

    declared_action = Action.GRANT
    section = "segments"
    form_class = RulesForm
    heading = "Work that needs approval"
    body_template = "approvals/forms/rules.html"

    def prepare(self) -> None:
        self.segment: Segment = visible_or_404(self.request, Segment.objects.all(), self.kwargs["pk"])
        gate.authorise(self.request.user, Action.GRANT)  # type: ignore[arg-type]

    def get_initial(self) -> dict[str, Any]:
        return {"operations": list(self.segment.approval_rules.values_list("operation", flat=True))}

    def subject(self) -> str:
        return f"Segment {self.segment}"

    def back_url(self) -> str:
        return reverse("segment-detail", args=[self.segment.pk])

    def perform(self, form: RulesForm) -> str:
        chosen = form.cleaned_data["operations"]
        approval_rules_set(actor=self.request.user, segment=self.segment, operations=chosen)  # type: ignore[arg-type]
        messages.success(self.request, f"The rules of {self.segment} are in force.")
        return self.back_url()
