"""What a first start does beyond migrating: the built-in roles, and the one account that everything else is given
from.
"""

from __future__ import annotations

import secrets

from django.db import transaction

from access.gate import SYSTEM
from access.models import Role, User
from access.services.grants import grant_create
from access.services.people import user_create
from access.services.roles import role_templates_install
from audit.events import EventAction
from audit.record import record
from portal.in_force import settings_compare, settings_facts

ADMINISTRATOR = "admin"


@transaction.atomic
def install() -> str | None:
    """Install the roles and, when nobody has an account yet, the administrator. Returns their one-time password,
    else None.
    """
    role_templates_install()
    if User.objects.exists():
        settings_compare()
        return None
    password = secrets.token_urlsafe(15)
    user = user_create(actor=SYSTEM, username=ADMINISTRATOR, password=password, full_name="Installation administrator")
    grant_create(
        actor=SYSTEM,
        holder=user,
        role=Role.objects.get(slug="administrator"),
        everything=True,
        reason="First start of this installation",
    )
    record(EventAction.INSTALLATION_FIRST_START, target=user, actor=SYSTEM, detail=settings_facts())
    return password
