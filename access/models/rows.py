"""The permission rows that the gate reads: one per grant x action x target.

Direct foreign keys (django-guardian's fast form, which also cascades when the object goes), each row also carrying
the grant, its effect and its end. Written only by `access.services.grants`; never through guardian's `assign_perm`.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from access.actions import Action
from access.models.grants import Effect, Grant
from access.models.people import Team, User


class GrantedRow(models.Model):
    """What every permission row carries beside guardian's columns."""

    grant = models.ForeignKey(Grant, on_delete=models.CASCADE, related_name="+")
    effect = models.CharField(max_length=5, choices=Effect.choices)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.effect} by grant {self.grant_id}"


def _user_meta(name: str) -> list[Any]:
    return [
        models.UniqueConstraint(fields=["user", "permission", "content_object", "grant"], name=f"user_{name}_row_once"),
    ]


def _team_meta(name: str) -> list[Any]:
    return [
        models.UniqueConstraint(
            fields=["group", "permission", "content_object", "grant"], name=f"team_{name}_row_once"
        ),
    ]


class UserSegmentPermission(GrantedRow, UserObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.Segment", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("segment")


class TeamSegmentPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.Segment", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("segment")


class UserVMPermission(GrantedRow, UserObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.VM", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("vm")


class TeamVMPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.VM", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("vm")


class UserHostPermission(GrantedRow, UserObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.Host", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("host")


class TeamHostPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.Host", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("host")


class UserClusterPermission(GrantedRow, UserObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.Cluster", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("cluster")


class TeamClusterPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = models.ForeignKey("inventory.Cluster", on_delete=models.CASCADE)

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("cluster")


class EverythingPermission(GrantedRow):
    """A right on everything, present and to come. Small: a handful of rows for platform operators and auditors."""

    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    group = models.ForeignKey(Team, null=True, on_delete=models.CASCADE, related_name="+")
    action = models.CharField(max_length=30, choices=Action.choices)

    class Meta(GrantedRow.Meta):
        constraints = [
            models.UniqueConstraint(fields=["grant", "action"], name="everything_row_once"),
        ]
