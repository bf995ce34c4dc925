"""Roles: named sets of actions."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models

from access.actions import Action
from audit.record import Target


def validate_actions(value: object) -> None:
    """Raise ValidationError unless `value` is a non-empty list of distinct, known actions that has VIEW."""
    if not isinstance(value, list) or not value:
        raise ValidationError("A role holds at least one action.")
    unknown = [item for item in value if item not in Action.values]
    if unknown:
        raise ValidationError(f"Unknown actions: {', '.join(map(str, unknown))}.")
    if len(set(value)) != len(value):
        raise ValidationError("An action is named twice.")
    if Action.VIEW not in value:
        raise ValidationError("A role holds “view”: what cannot be seen cannot be acted on.")


class Role(models.Model):
    """A named set of actions. Templates come with the installation and cannot be edited."""

    slug = models.SlugField(unique=True, max_length=60)
    name = models.CharField(max_length=100)
    purpose = models.CharField(max_length=300, blank=True)
    actions = models.JSONField(default=list, validators=[validate_actions])
    is_template = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    def audit_target(self) -> Target:
        return Target(type="role", id=str(self.pk), name=self.slug)
