"""Legal holds, and what left the record: for auditors."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from django.urls import reverse

from access import gate
from access.actions import Action
from access.record_holds import authorise, hold_lift, hold_place, may_hold
from audit.events import EventAction
from audit.holds import NoSuchHold, standing_hold, standing_holds
from audit.models import AuditEvent
from audit.record import record_alone
from portal.pages.base import Page, ServicePage
from portal.pages.forms.approvals import ReasonForm
from portal.pages.forms.holds import HoldForm


class Holds(Page):
    """The holds that stand, and the archives that the record tells of."""

    declared_action = Action.READ_AUDIT
    section = "holds"
    template_name = "holds/list.html"

    def prepare(self) -> None:
        gate.authorise(self.request.user, Action.READ_AUDIT)  # type: ignore[arg-type]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        record_alone(EventAction.AUDIT_READ, detail={"page": "holds"})
        return super().get_context_data(
            holds=standing_holds(),
            archives=AuditEvent.objects.filter(action=EventAction.AUDIT_ARCHIVED).order_by("-id"),
            may_hold=may_hold(user),
            **kwargs,
        )


class PlaceHold(ServicePage):
    """Keeps something in the record, whatever its age."""

    declared_action = Action.EXPORT
    section = "holds"
    form_class = HoldForm
    heading = "Place a legal hold"
    submit_label = "Place hold"

    def prepare(self) -> None:
        authorise(self.request.user)  # type: ignore[arg-type]

    def back_url(self) -> str:
        return reverse("holds")

    def perform(self, form: HoldForm) -> str:
        given = form.cleaned_data
        actor: Any = self.request.user
        hold_place(actor=actor, name=given["name"], reason=given["reason"], cover=form.cover())
        return self.back_url()


class LiftHold(ServicePage):
    """Lets what was held go, when its age is reached."""

    declared_action = Action.EXPORT
    section = "holds"
    form_class = ReasonForm
    heading = "Lift this legal hold?"
    submit_label = "Lift hold"
    is_dangerous = True

    def prepare(self) -> None:
        authorise(self.request.user)  # type: ignore[arg-type]
        try:
            self.hold = standing_hold(self.kwargs["pk"])
        except NoSuchHold as error:
            raise Http404 from error

    def subject(self) -> str:
        return f"{self.hold.name}: {self.hold.cover}"

    def back_url(self) -> str:
        return reverse("holds")

    def perform(self, form: ReasonForm) -> str:
        actor: Any = self.request.user
        try:
            hold_lift(actor=actor, hold_id=self.hold.id, reason=form.cleaned_data["reason"])
        except NoSuchHold as error:
            raise Http404 from error
        return self.back_url()
