"""Roles: the built-in templates, and own ones composed of actions."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.db import transaction

from access import gate
from access.actions import Action
from access.errors import InvalidAccessRequest
from access.gate import SYSTEM, Actor
from access.models import Role
from access.role_templates import TEMPLATES
from access.services.grants import write_rows
from audit.events import EventAction
from audit.record import record


@transaction.atomic
def role_create(*, actor: Actor, slug: str, name: str, actions: Sequence[str], purpose: str = "") -> Role:
    """Compose a role. Needs GRANT on everything. Raises InvalidAccessRequest."""
    gate.authorise(actor, Action.GRANT)
    role = Role(slug=slug, name=name, purpose=purpose, actions=list(actions))
    try:
        role.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidAccessRequest(" ".join(messages), field=field) from error
    role.save()
    record(EventAction.ROLE_CREATED, target=role, actor=actor, after={"slug": slug, "actions": list(actions)})
    return role


@transaction.atomic
def role_templates_install() -> None:
    """Bring the built-in roles to what `role_templates` says, and their grants' rows with them. Idempotent."""
    for template in TEMPLATES:
        actions = [action.value for action in template.actions]
        role, is_new = Role.objects.get_or_create(slug=template.slug, defaults={"name": template.name})
        before = role.actions
        role.name, role.purpose, role.actions, role.is_template = template.name, template.purpose, actions, True
        role.save()
        if is_new:
            after = {"slug": role.slug, "actions": actions}
            record(EventAction.ROLE_CREATED, target=role, actor=SYSTEM, after=after)
        elif before != actions:
            for grant in role.grants.all():
                write_rows(grant)
            record(
                EventAction.ROLE_CHANGED,
                target=role,
                actor=SYSTEM,
                before={"actions": before},
                after={"actions": actions},
            )
