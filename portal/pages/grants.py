"""Giving access on a segment, and taking it away."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.urls import reverse

from access.actions import Action
from access.models import Grant
from access.preview import Difference, of_grant
from access.services.grants import grant_create, grant_revoke
from inventory.models import Segment
from portal.pages.base import visible_or_404
from portal.pages.forms.grants import GrantForm, RevokeForm
from portal.pages.previewed import PreviewedPage


class GiveAccess(PreviewedPage):
    """A role on a segment, to a team or a person, with a reason and if wanted an end."""

    declared_action = Action.GRANT
    section = "segments"
    form_class = GrantForm
    heading = "Give access"
    submit_label = "Give access"

    def prepare(self) -> None:
        self.segment: Segment = visible_or_404(self.request, Segment.objects.all(), self.kwargs["pk"], Action.GRANT)

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.request.user, "segment": self.segment}

    def subject(self) -> str:
        return f"Segment {self.segment}"

    def back_url(self) -> str:
        return reverse("segment-detail", args=[self.segment.pk])

    def give(self, form: GrantForm) -> Grant:
        """Raises what `grant_create` raises."""
        given = form.cleaned_data
        return grant_create(
            actor=self.request.user,  # type: ignore[arg-type]
            holder=given["team"] or given["person"],
            role=given["role"],
            target=self.segment,
            reason=given["reason"],
            expires_at=given["expires_at"],
        )

    def preview(self, form: GrantForm) -> list[Difference]:
        given = form.cleaned_data
        like = Grant(team=given["team"], user=given["person"], segment=self.segment)
        return of_grant(self.request.user, like, lambda: self.give(form))  # type: ignore[arg-type]

    def perform(self, form: GrantForm) -> str:
        grant = self.give(form)
        messages.success(self.request, f"{grant.holder} is {grant.role} on {self.segment} now.")
        return self.back_url()


class RevokeGrant(PreviewedPage):
    """Takes a grant on a segment away; the access ends at once."""

    declared_action = Action.GRANT
    section = "segments"
    form_class = RevokeForm
    heading = "Take access away"
    submit_label = "Take away"
    is_dangerous = True
    body_template = "segments/forms/revoke.html"

    def prepare(self) -> None:
        self.segment: Segment = visible_or_404(self.request, Segment.objects.all(), self.kwargs["pk"], Action.GRANT)
        grants = Grant.objects.select_related("team", "user", "role")
        self.grant: Grant = visible_or_404(self.request, grants, self.kwargs["grant"], segment=self.segment)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(grant=self.grant, **kwargs)

    def subject(self) -> str:
        return f"Segment {self.segment}"

    def back_url(self) -> str:
        return reverse("segment-detail", args=[self.segment.pk])

    def preview(self, form: RevokeForm) -> list[Difference]:
        actor: Any = self.request.user
        return of_grant(actor, self.grant, lambda: grant_revoke(actor=actor, grant=self.grant))

    def perform(self, form: RevokeForm) -> str:
        holder, role = self.grant.holder, self.grant.role
        grant_revoke(actor=self.request.user, grant=self.grant, reason=form.cleaned_data["reason"])  # type: ignore[arg-type]
        messages.success(self.request, f"{holder} is no longer {role} on {self.segment}.")
        return self.back_url()
