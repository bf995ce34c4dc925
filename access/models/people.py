"""Users, teams and who belongs to which."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractUser, Group
from django.db import models

from access.people_querysets import TeamQuerySet, UserManager
from audit.record import Target


class User(AbstractUser):
    """A person with an account. `is_superuser` opens nothing: only grants do."""

    email = models.EmailField(blank=True)

    objects = UserManager()  # type: ignore[misc]  # Django declares it per class

    class Meta:
        default_permissions = ()
        ordering = ["username"]

    def __str__(self) -> str:
        return self.get_full_name() or self.username

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Ask the gate, for everybody alike (Django would answer True to any superuser)."""
        from access.backends import GateBackend

        return GateBackend().has_perm(self, perm, obj)

    def audit_target(self) -> Target:
        return Target(type="user", id=str(self.pk), name=self.username)


class Team(Group):
    """People who work together. A team is a Django group, so that guardian's group rows can name it."""

    description = models.CharField(max_length=500, blank=True)
    members: models.ManyToManyField[User, Membership] = models.ManyToManyField(
        "access.User", through="access.Membership", related_name="teams"
    )

    objects = TeamQuerySet.as_manager()  # type: ignore[misc,assignment]  # Group declares its own

    class Meta:
        default_permissions = ()
        ordering = ["name"]

    def audit_target(self) -> Target:
        return Target(type="team", id=str(self.pk), name=self.name)


class Membership(models.Model):
    """One person in one team; a lead manages the team's members."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    is_lead = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        ordering = ["team", "user"]
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="one_membership_per_team_and_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"
