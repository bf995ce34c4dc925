"""`manage.py audit_archive`: the oldest part of the record into a file, provably, and then out of the database."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser, ArgumentTypeError
from calendar import monthrange
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.archiving import Archiving, CannotArchive, Done
from audit.context import acting
from audit.sealer import CannotSeal

#: PCI DSS 10.5.1: twelve months of the record, the last three at hand. Here all twelve are at hand, without exception.
LEAST_MONTHS = 12


class Command(BaseCommand):
    """Ends with status 0 when the range is archived and removed; run again after it was killed, it goes on."""

    help = "Archive the oldest part of the record into a file of sealed lines, and remove it from the database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--before` or `--keep`; without them, SLIPWAY_AUDIT_KEEP_MONTHS of the settings."""
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--before", type=_day, metavar="DATE", help="What happened before this day (UTC).")
        which.add_argument("--keep", type=int, metavar="MONTHS", help="What is older than so many months.")
        parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="The archive; keep it, twice.")
        parser.add_argument("--reason", required=True, help="Why; it is recorded.")
        parser.add_argument("--wait", type=float, default=180.0, metavar="SECONDS", help="For the sealer (180).")

    def handle(
        self,
        *args: Any,
        before: datetime | None,
        keep: int | None,
        to: Path,
        reason: str,
        wait: float,
        **options: Any,
    ) -> None:
        """Run. Raises CommandError when it may not be archived, or can't be; and when a hold stopped it."""
        before = before or _months_ago(keep)
        if before > _ago(LEAST_MONTHS):
            raise CommandError(f"The last {LEAST_MONTHS} months stay in the record.")
        with acting(actor_name=f"{getpass.getuser()} (command line)", via="cli"):
            try:
                done = Archiving(file=to, reason=reason, wait=wait, say=self.stdout.write).run(before)
            except (CannotArchive, CannotSeal, OSError) as error:
                raise CommandError(str(error)) from error
        self.stdout.write(_in_words(done))
        if done.hold is not None:
            raise CommandError(f"Stopped by {done.hold}; what follows stays in the record.")


def _in_words(done: Done) -> str:
    archived = done.archived
    return f"{archived}\nRemoved from the record: {done.removed} seals, each with its event. Kept head: {archived.mac}"


def _months_ago(keep: int | None) -> datetime:
    months = settings.SLIPWAY_AUDIT_KEEP_MONTHS if keep is None else keep
    if months is None:
        raise CommandError("Nothing says what may go (--before, --keep or SLIPWAY_AUDIT_KEEP_MONTHS): all is kept.")
    return _ago(months)


def _ago(months: int) -> datetime:
    """Midnight so many months ago, on the same day of the month or its last."""
    today = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    return today.replace(year=year, month=month + 1, day=min(today.day, monthrange(year, month + 1)[1]))


def _day(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a day as in 2026-01-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
