"""Asking for access for a while, and deciding about it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.urls import reverse

from access import gate
from access.actions import Action
from access.models import AccessRequest
from access.preview import Difference, of_grant
from access.services.requests import access_request, access_request_grant, access_request_refuse
from inventory.models import VM, Segment
from portal.pages.base import ServicePage, visible_or_404
from portal.pages.forms.access_requests import AskForm
from portal.pages.forms.approvals import NoteForm, ReasonForm
from portal.pages.previewed import PreviewedPage


class AskForAccess(ServicePage):
    """A role for some hours, on a VM or a segment that one sees."""

    declared_action = Action.VIEW
    form_class = AskForm
    heading = "Ask for access"
    submit_label = "Ask"
    body_template = "access/forms/ask.html"
    model: Any

    def prepare(self) -> None:
        self.target = visible_or_404(self.request, self.model.objects.all(), self.kwargs["pk"])

    def get_form_kwargs(self) -> dict[str, Any]:
        user: Any = self.request.user
        return super().get_form_kwargs() | {"held": gate.held_on(user, self.target)}

    def subject(self) -> str:
        return str(self.target)

    def perform(self, form: AskForm) -> str:
        access_request(actor=self.request.user, target=self.target, **form.cleaned_data)  # type: ignore[arg-type]
        messages.success(self.request, "Your request waits for somebody who may approve it.")
        return self.back_url()


class AskOnVM(AskForAccess):
    """On a VM."""

    section = "vms"
    model = VM

    def back_url(self) -> str:
        return reverse("vm-access", args=[self.target.pk])


class AskOnSegment(AskForAccess):
    """On a segment."""

    section = "segments"
    model = Segment

    def back_url(self) -> str:
        return reverse("segment-detail", args=[self.target.pk])


class AccessDecision(ServicePage):
    """A form about a request that waits."""

    declared_action = Action.APPROVE
    section = "approvals"
    body_template = "access/forms/decide.html"

    def prepare(self) -> None:
        user: Any = self.request.user
        asked = AccessRequest.objects.select_related("user", "role", "segment", "vm", "host", "cluster")
        self.asked: AccessRequest = visible_or_404(self.request, asked, self.kwargs["pk"])
        gate.authorise(user, Action.APPROVE, self.asked.target)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(asked=self.asked, **kwargs)

    def subject(self) -> str:
        return str(self.asked)

    def back_url(self) -> str:
        return reverse("approvals")


class GiveForAWhile(AccessDecision, PreviewedPage):
    """Gives what is asked for; it ends by itself."""

    form_class = NoteForm
    heading = "Give this access?"
    submit_label = "Give it"

    def preview(self, form: NoteForm) -> list[Difference]:
        actor: Any = self.request.user
        like = self.asked.as_grant()
        return of_grant(actor, like, lambda: access_request_grant(actor=actor, request=self.asked))

    def perform(self, form: NoteForm) -> str:
        actor: Any = self.request.user
        given = access_request_grant(actor=actor, request=self.asked, note=form.cleaned_data["note"])
        messages.success(self.request, f"{given.user} is {given.role} on {given.target} for {given.hours} hours.")
        return self.back_url()


class RefuseAccess(AccessDecision):
    """Turns it down, with a reason."""

    form_class = ReasonForm
    heading = "Turn this request down?"
    submit_label = "Turn down"
    is_dangerous = True

    def perform(self, form: ReasonForm) -> str:
        actor: Any = self.request.user
        access_request_refuse(actor=actor, request=self.asked, note=form.cleaned_data["reason"])
        return self.back_url()
