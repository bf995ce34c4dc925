"""The closed catalogue: what can stand in the record, and how each thing can end.

A slug is `noun.verb` and never changes its meaning; one that is no longer written stays, so that old rows keep a label.
"""

from __future__ import annotations

from django.db import models


class EventAction(models.TextChoices):
    """What happened."""

    USER_SIGNED_IN = "user.signed_in", "Signed in"
    USER_SIGN_IN_FAILED = "user.sign_in_failed", "Sign-in failed"
    USER_SIGNED_OUT = "user.signed_out", "Signed out"
    USER_CREATED = "user.created", "User created"
    USER_CHANGED = "user.changed", "User changed"
    USER_DEACTIVATED = "user.deactivated", "User deactivated"
    TOKEN_CREATED = "token.created", "API token created"
    TOKEN_REVOKED = "token.revoked", "API token revoked"

    TEAM_CREATED = "team.created", "Team created"
    TEAM_CHANGED = "team.changed", "Team changed"
    TEAM_DELETED = "team.deleted", "Team deleted"
    MEMBERSHIP_ADDED = "membership.added", "Member added to team"
    MEMBERSHIP_REMOVED = "membership.removed", "Member removed from team"
    ROLE_CREATED = "role.created", "Role created"
    ROLE_CHANGED = "role.changed", "Role changed"
    ROLE_DELETED = "role.deleted", "Role deleted"
    GRANT_CREATED = "grant.created", "Grant created"
    GRANT_REVOKED = "grant.revoked", "Grant revoked"
    ACCESS_REQUEST_MADE = "access_request.made", "Access asked for"
    ACCESS_REQUEST_GRANTED = "access_request.granted", "Access given for a while"
    ACCESS_REQUEST_REFUSED = "access_request.refused", "Access turned down"
    ACCESS_REQUEST_WITHDRAWN = "access_request.withdrawn", "Request for access withdrawn"
    ACCESS_REFUSED = "access.refused", "Access refused"

    SEGMENT_CREATED = "segment.created", "Segment created"
    SEGMENT_CHANGED = "segment.changed", "Segment changed"
    SEGMENT_DELETED = "segment.deleted", "Segment deleted"
    CLUSTER_CREATED = "cluster.created", "Cluster created"
    CLUSTER_CHANGED = "cluster.changed", "Cluster changed"
    CLUSTER_DELETED = "cluster.deleted", "Cluster deleted"
    PLACEMENT_RULE_CREATED = "placement_rule.created", "Placement rule set"
    PLACEMENT_RULE_DELETED = "placement_rule.deleted", "Placement rule lifted"
    HOST_CREATED = "host.created", "Host created"
    HOST_CHANGED = "host.changed", "Host changed"
    HOST_DELETED = "host.deleted", "Host deleted"
    HOST_SYNC_REQUESTED = "host.sync_requested", "Host sync requested"
    VM_SEGMENT_ASSIGNED = "vm.segment_assigned", "VM assigned to segment"
    VM_CHANGED = "vm.changed", "VM changed"
    VM_DISCOVERED = "vm.discovered", "VM discovered on a host"
    VM_VANISHED = "vm.vanished", "VM no longer seen on any host"
    VM_MOVED = "vm.moved", "VM seen on another host"

    VM_CHANGED_OUTSIDE = "vm.changed_outside", "VM changed outside the portal"
    VM_CHANGE_ACKNOWLEDGED = "vm.change_acknowledged", "Change from outside acknowledged"
    VM_DEFINITION_APPROVED = "vm.definition_approved", "VM's definition approved"

    CONSOLE_ASKED = "console.asked", "Console asked for"
    CONSOLE_OPENED = "console.opened", "Console opened"
    CONSOLE_ENDED = "console.ended", "Console ended"

    JOB_SUBMITTED = "job.submitted", "Job submitted"
    JOB_SCHEDULED = "job.scheduled", "Job scheduled"
    JOB_QUEUED = "job.queued", "Job queued"
    JOB_STARTED = "job.started", "Job started"
    JOB_WAITS = "job.waits", "Job waits for its parts"
    JOB_CONTROLLED = "job.controlled", "Running migration changed"
    JOB_CANCEL_REQUESTED = "job.cancel_requested", "Job cancel requested"
    JOB_SUCCEEDED = "job.succeeded", "Job succeeded"
    JOB_FAILED = "job.failed", "Job failed"
    JOB_ERRORED = "job.errored", "Job ended by an error in Slipway"
    JOB_CANCELLED = "job.cancelled", "Job cancelled"
    JOB_LOST = "job.lost", "Job lost its worker"
    JOB_RESUMED = "job.resumed", "Job resumed"
    JOB_APPROVED = "job.approved", "Job approved"
    JOB_REJECTED = "job.rejected", "Job turned down"
    JOB_BROKE_GLASS = "job.broke_glass", "Went ahead without approval"
    BROKEN_GLASS_ACKNOWLEDGED = "broken_glass.acknowledged", "Work without approval acknowledged"
    EFFECT_INTENT = "effect.intent", "About to call a hypervisor"
    EFFECT_OUTCOME = "effect.outcome", "Called a hypervisor"

    AUDIT_VERIFIED = "audit.verified", "Record verified"
    AUDIT_READ = "audit.read", "Record read"
    AUDIT_EXPORTED = "audit.exported", "Record exported"
    SEARCH_SAVED = "search.saved", "Search saved"
    SEARCH_DELETED = "search.deleted", "Saved search deleted"
    AUDIT_ARCHIVED = "audit.archived", "Oldest part of the record archived"
    AUDIT_TRIMMED = "audit.trimmed", "Archived rows removed"
    HOLD_PLACED = "hold.placed", "Legal hold placed"
    HOLD_LIFTED = "hold.lifted", "Legal hold lifted"
    AUDIT_KEY_ROTATED = "audit.key_rotated", "Seal key replaced"
    SETTINGS_CHANGED = "settings.changed", "Settings changed"
    INSTALLATION_FIRST_START = "installation.first_start", "First start of the installation"


class Outcome(models.TextChoices):
    """How it ended. `INTENT` is written before an effect; `UNKNOWN` when nobody could see the end."""

    OK = "ok", "Done"
    FAILED = "failed", "Failed"
    REFUSED = "refused", "Refused"
    INTENT = "intent", "Intended"
    UNKNOWN = "unknown", "Unknown"


class ActorKind(models.TextChoices):
    """What kind of actor did it."""

    USER = "user", "Person"
    SYSTEM = "system", "Slipway"
    ANONYMOUS = "anonymous", "Not signed in"


class Via(models.TextChoices):
    """By which door it came."""

    WEB = "web", "Web portal"
    API = "api", "REST API"
    JOB = "job", "Job"
    CLI = "cli", "Command line"
    SYSTEM = "system", "Slipway itself"


# The models name these functions, not the lists, so that a longer catalogue needs no migration.


def action_choices() -> list[tuple[str, str]]:
    """The catalogue as field choices."""
    return list(EventAction.choices)


def outcome_choices() -> list[tuple[str, str]]:
    """The outcomes as field choices."""
    return list(Outcome.choices)


def actor_kind_choices() -> list[tuple[str, str]]:
    """The kinds of actor as field choices."""
    return list(ActorKind.choices)


def via_choices() -> list[tuple[str, str]]:
    """The doors as field choices."""
    return list(Via.choices)
