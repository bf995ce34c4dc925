"""Asking for access for a while: who, what, why, and who decided."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from access.models.grants import SCOPES, Grant
from access.models.people import User
from access.models.roles import Role
from access.people_querysets import AccessRequestQuerySet
from audit.record import Target


def _one_scope() -> Q:
    options = Q()
    for chosen in SCOPES:
        options |= Q(**{f"{name}__isnull": name != chosen for name in SCOPES})
    return options


class AccessRequest(models.Model):
    """A person asks for a role on one object for some hours. Granting it makes a grant that ends by itself."""

    class Verdict(models.TextChoices):
        WAITING = "waiting", "Waits"
        GRANTED = "granted", "Granted"
        REFUSED = "refused", "Refused"
        WITHDRAWN = "withdrawn", "Withdrawn"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_requests")
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="+")
    segment: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.Segment", null=True, on_delete=models.CASCADE, related_name="access_requests"
    )
    vm: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.VM", null=True, on_delete=models.CASCADE, related_name="access_requests"
    )
    host: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.Host", null=True, on_delete=models.CASCADE, related_name="access_requests"
    )
    cluster: models.ForeignKey[Any, Any] = models.ForeignKey(
        "inventory.Cluster", null=True, on_delete=models.CASCADE, related_name="access_requests"
    )
    hours = models.PositiveIntegerField()
    reason = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    verdict = models.CharField(max_length=10, choices=Verdict.choices, default=Verdict.WAITING)
    decided_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=500, blank=True)
    grant = models.OneToOneField(Grant, null=True, on_delete=models.SET_NULL, related_name="request")

    objects = AccessRequestQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["-created_at", "-pk"]
        constraints = [models.CheckConstraint(condition=_one_scope(), name="access_request_has_one_scope")]

    def __str__(self) -> str:
        return f"{self.role} on {self.scope_label} for {self.user}"

    @property
    def target(self) -> Any:
        """The object that is asked for."""
        return self.segment or self.vm or self.host or self.cluster

    @property
    def scope_label(self) -> str:
        """The scope in words."""
        kind = next(name for name in SCOPES if getattr(self, f"{name}_id") is not None)
        return f"{kind} {self.target}"

    @property
    def is_open(self) -> bool:
        """Whether somebody can still decide."""
        return self.verdict == self.Verdict.WAITING and self.expires_at > timezone.now()

    def as_grant(self) -> Grant:
        """A grant that is not saved, with the holder and the scope asked for."""
        return Grant(user=self.user, role=self.role, **{name: getattr(self, name) for name in SCOPES})

    def audit_target(self) -> Target:
        segment = self.segment
        return Target(
            type="access_request",
            id=str(self.pk),
            name=str(self),
            segment_id=str(segment.pk) if segment else "",
            segment_name=segment.name if segment else "",
        )
