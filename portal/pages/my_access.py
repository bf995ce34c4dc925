"""“My access”: everything that the user holds, from whom and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils import timezone

from access.actions import Action
from access.models import Grant, Membership
from access.models.grants import Effect
from portal.declared import SIGNED_IN
from portal.pages.base import Page
from portal.pages.teams import of_grants


@dataclass(frozen=True, slots=True)
class Holding:
    """A grant in words."""

    grant: Grant
    actions: list[str]
    is_deny: bool
    has_ended: bool


class MyAccess(Page):
    """The user's teams, and the grants that they hold themselves or through a team."""

    declared_action = SIGNED_IN
    section = "my-access"
    template_name = "my_access.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        memberships = Membership.objects.filter(user=user.pk).select_related("team").order_by("team__name")
        teams = [membership.team_id for membership in memberships]
        grants = of_grants(Grant.objects.visible_to(user).filter(Q(user=user.pk) | Q(team__in=teams)))
        return super().get_context_data(
            memberships=memberships, holdings=[holding(grant) for grant in grants], **kwargs
        )


def holding(grant: Grant) -> Holding:
    """A grant with its actions by name."""
    return Holding(
        grant=grant,
        actions=[Action(name).label for name in grant.role.actions],
        is_deny=grant.effect == Effect.DENY,
        has_ended=grant.expires_at is not None and grant.expires_at <= timezone.now(),
    )
