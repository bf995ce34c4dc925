"""`manage.py token_create USERNAME [--days N]`: print a token for the API."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from knox.settings import knox_settings

from access.gate import SYSTEM
from access.models import User
from audit.context import at_the_command_line
from portal.api.tokens import LONGEST_DAYS, token_create


class Command(BaseCommand):
    help = "Print a new API token of a user, alone on standard output. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument(
            "--days", type=int, default=knox_settings.TOKEN_TTL.days, help="how long it is valid (default %(default)s)"
        )

    def handle(self, *args: Any, username: str, days: int, **options: Any) -> None:
        if not 1 <= days <= LONGEST_DAYS:
            raise CommandError(f"A token is valid for 1 to {LONGEST_DAYS} days.")
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username!r}.")
        if not user.is_active:
            raise CommandError(f"The account {username!r} is closed.")
        with at_the_command_line():
            self.stdout.write(token_create(actor=SYSTEM, user=user, days=days))
