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


def _indexes(holder: str, name: str) -> list[models.Index]:
    """For the two questions of the gate: on which objects has somebody this effect for this action (lists), and what
    has somebody on these objects (checks)?
    """
    of_list = [holder, "permission", "effect", "content_object"]
    return [
        models.Index(fields=of_list, include=["expires_at"], name=f"{name}_row_by_holder"),
        models.Index(fields=["content_object", holder], name=f"{name}_row_by_object"),
    ]


def _object(model: str) -> Any:
    """What a row is about. The index by object is one with the holder in it."""
    return models.ForeignKey(model, on_delete=models.CASCADE, db_index=False)


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
    content_object: models.ForeignKey[Any, Any] = _object("inventory.Segment")

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("segment")
        indexes = _indexes("user", "user_segment")


class TeamSegmentPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = _object("inventory.Segment")

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("segment")
        indexes = _indexes("group", "team_segment")


class UserVMPermission(GrantedRow, UserObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = _object("inventory.VM")

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("vm")
        indexes = _indexes("user", "user_vm")


class TeamVMPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = _object("inventory.VM")

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("vm")
        indexes = _indexes("group", "team_vm")


class UserHostPermission(GrantedRow, UserObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = _object("inventory.Host")

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("host")
        indexes = _indexes("user", "user_host")


class TeamHostPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = _object("inventory.Host")

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("host")
        indexes = _indexes("group", "team_host")


class UserClusterPermission(GrantedRow, UserObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = _object("inventory.Cluster")

    class Meta(GrantedRow.Meta):
        constraints = _user_meta("cluster")
        indexes = _indexes("user", "user_cluster")


class TeamClusterPermission(GrantedRow, GroupObjectPermissionBase):
    content_object: models.ForeignKey[Any, Any] = _object("inventory.Cluster")

    class Meta(GrantedRow.Meta):
        constraints = _team_meta("cluster")
        indexes = _indexes("group", "team_cluster")


class EverythingPermission(GrantedRow):
    """A right on everything, present and to come. Small: a handful of rows for platform operators and auditors."""

    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    group = models.ForeignKey(Team, null=True, on_delete=models.CASCADE, related_name="+")
    action = models.CharField(max_length=30, choices=Action.choices)

    class Meta(GrantedRow.Meta):
        constraints = [
            models.UniqueConstraint(fields=["grant", "action"], name="everything_row_once"),
        ]
