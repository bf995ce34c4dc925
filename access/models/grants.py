"""Grants: the intent behind the permission rows, with author, reason and end."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from access.models.people import Team, User
from access.models.roles import Role
from access.people_querysets import GrantQuerySet
from audit.record import Target


class Effect(models.TextChoices):
    """What a grant does. Deny wins over any allow."""

    ALLOW = "allow", "Allow"
    DENY = "deny", "Deny"


#: The scopes a grant can name, and the field that holds each.
SCOPES = ("segment", "vm", "host", "cluster")


def _exactly_one_scope() -> Q:
    """Everything alone, or exactly one object."""
    options = Q(everything=True, **{f"{name}__isnull": True for name in SCOPES})
    for chosen in SCOPES:
        options |= Q(everything=False, **{f"{name}__isnull": name != chosen for name in SCOPES})
    return options


class Grant(models.Model):
    """Allow or deny, for a team or a user, of a role, on everything, a segment, a VM, a host or a cluster.

    The gate does not read grants; it reads the permission rows that `access.services.grants` writes for them.
    """

    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="grants")
    effect = models.CharField(max_length=5, choices=Effect.choices, default=Effect.ALLOW)
    everything = models.BooleanField(default=False)
    segment: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.Segment", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    vm: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.VM", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    host: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.Host", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    cluster: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.Cluster", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500)
    author = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="grants_given")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = GrantQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(team__isnull=True, user__isnull=False) | Q(team__isnull=False, user__isnull=True),
                name="grant_has_one_holder",
            ),
            models.CheckConstraint(condition=_exactly_one_scope(), name="grant_has_one_scope"),
        ]

    def __str__(self) -> str:
        return f"{self.get_effect_display()} {self.role} to {self.holder} on {self.scope_label}"

    @property
    def holder(self) -> Team | User:
        """The team or the user."""
        return self.team or self.user  # type: ignore[return-value]  # the check constraint holds one

    @property
    def target(self) -> Any:
        """The object in scope, or None for everything."""
        return self.segment or self.vm or self.host or self.cluster

    @property
    def scope_label(self) -> str:
        """The scope in words."""
        if self.everything:
            return "everything"
        kind = next(name for name in SCOPES if getattr(self, f"{name}_id") is not None)
        return f"{kind} {self.target}"

    def audit_target(self) -> Target:
        segment = self.segment
        return Target(
            type="grant",
            id=str(self.pk),
            name=str(self),
            segment_id=str(segment.pk) if segment else "",
            segment_name=segment.name if segment else "",
        )
