"""Writing the record. `record()` joins the transaction of the change it tells of; `record_alone()` commits by itself.

Both raise when the event can't be written, and then the action must not happen: neither is ever wrapped in a handler
that goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import transaction
from django.utils import timezone

from audit import rows, values
from audit.context import Context, actor_fields, current
from audit.events import EventAction, Outcome
from audit.models import ID_LENGTH, NAME_LENGTH, AuditEvent


class NotInTransaction(RuntimeError):
    """`record()` was called outside a transaction, where the event and its change could part."""

    def __init__(self) -> None:
        super().__init__(
            "record() must be called in the transaction of the change; use record_alone() for what has none."
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What an event is about, as it was called at that time. `type` is the noun: "vm", "host", "grant"."""

    type: str
    id: str
    uuid: str = ""
    name: str = ""
    segment_id: str = ""
    segment_name: str = ""


class Audited(Protocol):
    """An object that can be what an event is about."""

    def audit_target(self) -> Target:
        """How the record names the object."""


def record(
    action: EventAction,
    *,
    target: Target | Audited | None = None,
    outcome: Outcome = Outcome.OK,
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    actor: Any = None,
) -> AuditEvent:
    """Write an event in the transaction in progress, so that both commit or neither.

    Who and whence come from `audit.context`; `actor` (a user, or `access.gate.SYSTEM`) says who it was where that
    differs, and the person of the context is then the one on whose behalf. Raises NotInTransaction, ValueError for an
    action outside the catalogue, and database errors.
    """
    if not transaction.get_connection().in_atomic_block:
        raise NotInTransaction
    about = target.audit_target() if target is not None and not isinstance(target, Target) else target
    about = about or Target(type="", id="")
    context = current()
    event = AuditEvent(
        at=timezone.now(),
        action=EventAction(action).value,
        outcome=Outcome(outcome).value,
        reason=values.paragraph(reason),
        before=values.document(before),
        after=values.document(after),
        detail=values.document(_marked(detail, context)),
        **_circumstances(context, actor),
        **_about(about),
    )
    rows.insert(event)
    return event


def record_alone(
    action: EventAction,
    *,
    target: Target | Audited | None = None,
    outcome: Outcome = Outcome.OK,
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    actor: Any = None,
) -> AuditEvent:
    """Write an event that is committed when this returns: a refusal, an intent, an outcome.

    Raises RuntimeError inside a transaction, which could roll the event back, and what `record()` raises.
    """
    with transaction.atomic(durable=True):
        return record(
            action,
            target=target,
            outcome=outcome,
            reason=reason,
            before=before,
            after=after,
            detail=detail,
            actor=actor,
        )


def _marked(detail: Mapping[str, Any] | None, context: Context) -> Mapping[str, Any] | None:
    """The detail, and as what the actor stands out."""
    standing = context.standing()
    return {**(detail or {}), "standing": standing} if standing else detail


def _circumstances(context: Context, actor: Any) -> dict[str, str]:
    who = {"actor_id": context.actor_id, "actor_name": context.actor_name, "actor_kind": str(context.actor_kind)}
    behalf = {"id": context.on_behalf_of_id, "name": context.on_behalf_of_name}
    if actor is not None:
        acting = actor_fields(actor)
        if context.actor_kind == "user" and acting["actor_id"] != context.actor_id:
            behalf = {"id": context.actor_id, "name": context.actor_name}
        if acting["actor_kind"] == "system" == context.actor_kind:
            acting["actor_name"] = context.actor_name  # whose hand it was, where Slipway itself is asked for
        who = acting
    return {
        "actor_kind": who["actor_kind"],
        "actor_id": values.line(who["actor_id"], ID_LENGTH),
        "actor_name": values.line(who["actor_name"], NAME_LENGTH),
        "on_behalf_of_id": values.line(behalf["id"], ID_LENGTH),
        "on_behalf_of_name": values.line(behalf["name"], NAME_LENGTH),
        "via": str(context.via),
        "token_id": values.line(context.token_id, ID_LENGTH),
        "source_address": values.line(context.source_address, ID_LENGTH),
        "job_id": values.line(context.job_id, ID_LENGTH),
        "request_id": values.line(context.request_id, ID_LENGTH),
    }


def _about(target: Target) -> dict[str, str]:
    return {
        "object_type": values.line(target.type, ID_LENGTH),
        "object_id": values.line(target.id, ID_LENGTH),
        "object_uuid": values.line(target.uuid, ID_LENGTH),
        "object_name": values.line(target.name, NAME_LENGTH),
        "segment_id": values.line(target.segment_id, ID_LENGTH),
        "segment_name": values.line(target.segment_name, NAME_LENGTH),
    }
