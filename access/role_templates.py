"""The roles every installation starts with. They cannot be edited; own roles are composed beside them."""

from __future__ import annotations

from dataclasses import dataclass

from access.actions import Action

_VIEWER = (Action.VIEW,)
_OPERATOR = (*_VIEWER, Action.POWER, Action.CONSOLE, Action.SNAPSHOT)
_MAINTAINER = (*_OPERATOR, Action.REVERT, Action.DELETE_SNAPSHOT, Action.PATCH, Action.MIGRATE, Action.EDIT)
_OWNER = (*_MAINTAINER, Action.ASSIGN_SEGMENT, Action.GRANT, Action.APPROVE, Action.MANAGE_WINDOWS)


@dataclass(frozen=True, slots=True)
class RoleTemplate:
    """One built-in role."""

    slug: str
    name: str
    purpose: str
    actions: tuple[Action, ...]


TEMPLATES = (
    RoleTemplate("viewer", "Viewer", "Sees, and touches nothing.", _VIEWER),
    RoleTemplate("operator", "Operator", "Keeps VMs running: power, console, snapshots.", _OPERATOR),
    RoleTemplate("maintainer", "Maintainer", "Also reverts, patches and migrates.", _MAINTAINER),
    RoleTemplate("owner", "Owner", "Also grants access and approves requests.", _OWNER),
    RoleTemplate("placement", "Placement", "Sees hosts and may place VMs on them.", (Action.VIEW, Action.PLACE)),
    RoleTemplate(
        "platform-operator",
        "Platform operator",
        "Runs hosts and segments, and maintains every VM on them.",
        (*_OWNER, Action.PLACE, Action.OPERATE_HOST),
    ),
    RoleTemplate(
        "auditor",
        "Auditor",
        "Reads everything, the audit record included.",
        (Action.VIEW, Action.READ_AUDIT, Action.EXPORT),
    ),
    RoleTemplate("administrator", "Administrator", "Holds every action.", tuple(Action)),
)
