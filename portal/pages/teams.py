"""Teams: who is in them, and for their leads, who comes and goes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import Http404
from django.urls import reverse

from access import gate
from access.actions import Action
from access.models import Grant, Membership, Team, User
from access.preview import Difference, of_membership
from access.services.people import member_add, member_remove
from portal.declared import SIGNED_IN
from portal.pages.base import Page, visible_or_404
from portal.pages.forms.base import PortalForm
from portal.pages.forms.teams import MemberForm
from portal.pages.previewed import PreviewedPage


class TeamList(Page):
    """The teams that the user sees: their own, or all."""

    declared_action = SIGNED_IN
    section = "teams"
    template_name = "teams/list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        own = Membership.objects.filter(team=OuterRef("pk"), user=self.request.user.pk)
        teams = Team.objects.visible_to(self.request.user).annotate(
            member_count=Count("memberships"), is_own=Exists(own), is_led=Exists(own.filter(is_lead=True))
        )
        return super().get_context_data(teams=teams.order_by("name"), **kwargs)


class TeamDetail(Page):
    """One team: members, and the grants it holds."""

    declared_action = Action.VIEW
    section = "teams"
    template_name = "teams/detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        team = visible_or_404(self.request, Team.objects.all(), self.kwargs["pk"])
        members = team.memberships.select_related("user").order_by("-is_lead", "user__username")
        grants = Grant.objects.visible_to(user).filter(team=team)
        return super().get_context_data(
            team=team, members=members, grants=of_grants(grants), may_manage=manages(user, team), **kwargs
        )


class TeamForm(PreviewedPage):
    """A form about a team's members."""

    declared_action = Action.VIEW
    section = "teams"

    def prepare(self) -> None:
        self.team: Team = visible_or_404(self.request, Team.objects.all(), self.kwargs["pk"])
        if not manages(self.request.user, self.team):
            gate.authorise(self.request.user, Action.GRANT, self.team)  # type: ignore[arg-type]

    def subject(self) -> str:
        return self.team.name

    def back_url(self) -> str:
        return reverse("team-detail", args=[self.team.pk])


class AddMember(TeamForm):
    """Puts a person into the team, by their user name: a lead does not see everybody's."""

    form_class = MemberForm
    heading = "Add a member"
    submit_label = "Add"

    def preview(self, form: MemberForm) -> list[Difference]:
        actor: Any = self.request.user
        person: User = form.cleaned_data["username"]
        return of_membership(actor, self.team, person, lambda: member_add(actor=actor, team=self.team, user=person))

    def perform(self, form: MemberForm) -> str:
        person: User = form.cleaned_data["username"]
        member_add(actor=self.request.user, team=self.team, user=person)  # type: ignore[arg-type]
        messages.success(self.request, f"{person} is in {self.team} now.")
        return self.back_url()


class RemoveMember(TeamForm):
    """Takes a person out of the team: what they held through it ends at once."""

    form_class = PortalForm
    heading = "Remove a member"
    submit_label = "Remove"
    is_dangerous = True
    body_template = "teams/forms/remove.html"

    def prepare(self) -> None:
        super().prepare()
        found = self.team.memberships.select_related("user").filter(pk=self.kwargs["membership"]).first()
        if found is None:
            elsewhere = Membership.objects.filter(pk=self.kwargs["membership"]).first()
            if elsewhere is not None:
                visible_or_404(self.request, Team.objects.all(), elsewhere.team_id)
            raise Http404
        self.membership: Membership = found

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(membership=self.membership, **kwargs)

    def preview(self, form: PortalForm) -> list[Difference]:
        actor: Any = self.request.user
        person = self.membership.user
        return of_membership(actor, self.team, person, lambda: member_remove(actor=actor, team=self.team, user=person))

    def perform(self, form: PortalForm) -> str:
        person = self.membership.user
        member_remove(actor=self.request.user, team=self.team, user=person)  # type: ignore[arg-type]
        messages.success(self.request, f"{person} is no longer in {self.team}.")
        if Team.objects.visible_to(self.request.user).filter(pk=self.team.pk).exists():
            return self.back_url()
        return reverse("team-list")


def manages(user: Any, team: Team) -> bool:
    """Whether to offer the forms; the service decides again."""
    return gate.can(user, Action.GRANT) or team.memberships.filter(user=user, is_lead=True).exists()


def of_grants(grants: QuerySet[Grant]) -> QuerySet[Grant]:
    """Grants with everything that their sentence names."""
    related = ("team", "user", "role", "author", "segment", "vm", "host", "cluster")
    return grants.select_related(*related).order_by("-everything", "segment__name", "created_at")
