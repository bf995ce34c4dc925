"""People, roles, grants, and the permission rows that the gate reads."""

from access.models.grants import Effect, Grant
from access.models.people import Membership, Team, User
from access.models.requests import AccessRequest
from access.models.roles import Role
from access.models.rows import (
    EverythingPermission,
    TeamClusterPermission,
    TeamHostPermission,
    TeamSegmentPermission,
    TeamVMPermission,
    UserClusterPermission,
    UserHostPermission,
    UserSegmentPermission,
    UserVMPermission,
)

__all__ = [
    "AccessRequest",
    "Effect",
    "EverythingPermission",
    "Grant",
    "Membership",
    "Role",
    "Team",
    "TeamClusterPermission",
    "TeamHostPermission",
    "TeamSegmentPermission",
    "TeamVMPermission",
    "User",
    "UserClusterPermission",
    "UserHostPermission",
    "UserSegmentPermission",
    "UserVMPermission",
]
