"""`manage.py install`: roles, and on the first start the administrator with a one-time password."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from audit.context import at_the_command_line
from portal.installation import ADMINISTRATOR, install


class Command(BaseCommand):
    help = "Bring the installation to what this version expects; idempotent."

    def handle(self, *args: Any, **options: Any) -> None:
        with at_the_command_line():
            password = install()
        if password is not None:
            self.stdout.write(f"First start. Sign in as “{ADMINISTRATOR}” with the password {password} (shown once).")
