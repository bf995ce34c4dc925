"""`manage.py audit_key_rotate`: another key seals from now on."""

from __future__ import annotations

import getpass
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.context import acting
from audit.events import EventAction, Outcome
from audit.keys import retired_directory
from audit.locks import sealer_lock
from audit.record import record_alone
from audit.rotation import Change, coming_change, prepare
from audit.sealer import CannotSeal, configured

LOOK_SECONDS = 0.2


class Command(BaseCommand):
    """Lays a new key ready and waits until the sealer took it up; does the sealer's part itself when none works.

    Run again after it was killed, it finishes the same rotation.
    """

    help = "Replace the seal key. The old one stays, to check what it sealed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--reason`, because somebody will ask; `--wait` for the running sealer, in seconds."""
        parser.add_argument("--reason", required=True, help="Why; it is recorded.")
        parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="For the sealer (60).")

    def handle(self, *args: Any, reason: str, wait: float, **options: Any) -> None:
        """Run. Raises CommandError when there is no key yet, or when the running sealer doesn't take the new one."""
        path = Path(settings.SLIPWAY_SEAL_KEY_FILE)
        with acting(actor_name=f"{getpass.getuser()} (command line)", via="cli"):
            try:
                change = prepare(path, lambda change: _record(change, Outcome.INTENT, reason))
                _until_taken_up(path, time.monotonic() + wait)
            except (CannotSeal, OSError) as error:
                raise CommandError(str(error)) from error
            _record(change, Outcome.OK, reason)
        self.stdout.write(
            f"Key {change.new_key_id} seals now; key {change.old_key_id} checks what it sealed.\n"
            f"Back up {path} apart from the record, and keep {retired_directory(path)}."
        )


def _record(change: Change, outcome: Outcome, reason: str) -> None:
    record_alone(EventAction.AUDIT_KEY_ROTATED, outcome=outcome, reason=reason, detail=change._asdict())


def _until_taken_up(path: Path, deadline: float) -> None:
    while coming_change(path) is not None:
        with sealer_lock(Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).parent) as mine:
            if mine:
                configured().start()
        if mine and coming_change(path) is not None:
            raise CommandError("The new key can't be taken up; the log says why. The old one still seals.")
        if time.monotonic() > deadline:
            raise CommandError("The running sealer has not taken the new key up: restart it, and run this again.")
        if not mine:
            time.sleep(LOOK_SECONDS)
