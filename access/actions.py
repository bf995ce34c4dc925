"""The actions that a role can hold: the finest thing the gate decides about."""

from __future__ import annotations

from typing import Any

from django.db.models import TextChoices


class Action(TextChoices):
    """What a person may do to an object. Without VIEW, an object does not exist for them."""

    VIEW = "view", "View"
    POWER = "power", "Power on, off, reboot"
    CONSOLE = "console", "Open the console"
    SNAPSHOT = "snapshot", "Take snapshots"
    REVERT = "revert", "Revert to a snapshot"
    DELETE_SNAPSHOT = "delete_snapshot", "Delete snapshots"
    PATCH = "patch", "Patch"
    MIGRATE = "migrate", "Migrate"
    PLACE = "place", "Place VMs on a host"
    EDIT = "edit", "Edit"
    ASSIGN_SEGMENT = "assign_segment", "Assign to a segment"
    GRANT = "grant", "Grant access"
    APPROVE = "approve", "Approve requests"
    OPERATE_HOST = "operate_host", "Operate hosts"
    MANAGE_WINDOWS = "manage_windows", "Manage maintenance windows"
    READ_AUDIT = "read_audit", "Read the audit record"
    EXPORT = "export", "Export reports"


def permissions() -> list[tuple[str, Any]]:
    """The actions as Django permissions, for `Meta.permissions` of each model that grants can name."""
    return [(action.value, action.label) for action in Action]
