"""People, and what they were given."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from access.models import Grant, Membership, Role, Team
from portal.admin.base import ReadOnlyAdmin, ReadOnlyInline


class Memberships(ReadOnlyAdmin):
    list_display = ["team", "user", "is_lead", "created_at"]
    list_filter = ["is_lead", "team"]
    list_select_related = ["team", "user"]
    search_fields = ["team__name", "user__username"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).filter(team__in=Team.objects.visible_to(request.user))

    def record_query(self, found: Membership) -> dict[str, str]:
        return {"object_type": "team", "object_id": str(found.team_id)}


class TeamsOfUser(ReadOnlyInline):
    model = Membership
    fields = ["team", "is_lead", "created_at"]
    verbose_name_plural = "teams"


class MembersOfTeam(ReadOnlyInline):
    model = Membership
    fields = ["user", "is_lead", "created_at"]
    verbose_name_plural = "members"


class GrantsInline(ReadOnlyInline):
    model = Grant
    fields = ["effect", "role", "scope_label", "expires_at", "reason", "author", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Grant]:
        rows: Any = super().get_queryset(request)
        return rows.visible_to(request.user).select_related("role", "author", "segment", "vm", "host", "cluster")


class GrantsOfUser(GrantsInline):
    fk_name = "user"


class GrantsOfTeam(GrantsInline):
    fk_name = "team"


class Users(ReadOnlyAdmin):
    """Accounts. The password, hashed as it is, is nobody's to see."""

    list_display = ["username", "get_full_name", "is_active", "last_login", "date_joined"]
    list_filter = ["is_active"]
    search_fields = ["username", "first_name", "last_name", "email"]
    fields = ["username", "first_name", "last_name", "email", "is_active", "last_login", "date_joined"]
    inlines = [TeamsOfUser, GrantsOfUser]

    @admin.display(description="Full name")
    def get_full_name(self, user: Any) -> str:
        return user.get_full_name()

    def record_query(self, found: Any) -> dict[str, str]:
        return {"person": str(found.pk)}


class Teams(ReadOnlyAdmin):
    list_display = ["name", "description"]
    search_fields = ["name"]
    fields = ["name", "description"]
    inlines = [MembersOfTeam, GrantsOfTeam]


class Roles(ReadOnlyAdmin):
    list_display = ["name", "slug", "purpose", "actions", "is_template"]
    list_filter = ["is_template"]
    fields = ["name", "slug", "purpose", "actions_text", "is_template"]
    readonly_fields = ["actions_text"]

    @admin.display(description="Actions")
    def actions_text(self, role: Role) -> str:
        return ", ".join(role.actions)


class Grants(ReadOnlyAdmin):
    list_display = ["holder", "effect", "role", "scope_label", "expires_at", "author", "created_at", "reason"]
    list_display_links = ["holder", "role"]
    list_filter = ["effect", "everything", "role", "created_at"]
    list_select_related = ["team", "user", "role", "author", "segment", "vm", "host", "cluster"]
    search_fields = ["team__name", "user__username", "segment__name", "vm__name", "host__name", "reason"]
    fields = [
        "team", "user", "effect", "role", "everything", "segment", "vm", "host", "cluster", "expires_at", "reason",
        "author", "created_at",
    ]  # fmt: skip
