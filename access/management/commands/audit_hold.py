"""`manage.py audit_hold`: legal holds from the command line."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from access.errors import InvalidAccessRequest
from access.gate import SYSTEM
from access.record_holds import hold_lift, hold_place
from audit.context import acting
from audit.holds import Cover, NoSuchHold, standing_holds


class Command(BaseCommand):
    """Who may work on the machine may hold; it is recorded under the name of their account there."""

    help = "List, place and lift legal holds, which keep events in the record whatever their age."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`list`, `place NAME --reason ...`, `lift NUMBER --reason ...`."""
        does = parser.add_subparsers(dest="does", required=True)
        does.add_parser("list", help="The holds that stand.")
        place = does.add_parser("place", help="Place one on the events that meet all that is given.")
        place.add_argument("name", metavar="NAME", help="As the case is called.")
        place.add_argument("--reason", required=True)
        place.add_argument("--everything", action="store_true", help="The whole record.")
        for name in ("since", "until"):
            place.add_argument(f"--{name}", type=_moment, metavar="ISO", help="UTC unless it says.")
        for name in ("person", "object", "segment"):
            place.add_argument(f"--{name}", default="", metavar="NAME_OR_ID")
        lift = does.add_parser("lift", help="Lift one.")
        lift.add_argument("number", type=int, metavar="NUMBER")
        lift.add_argument("--reason", required=True)

    def handle(self, *args: Any, does: str, **options: Any) -> None:
        """Run. Raises CommandError for what makes no sense."""
        with acting(actor_name=f"{getpass.getuser()} (command line)", via="cli"):
            try:
                self._do(does, options)
            except (InvalidAccessRequest, NoSuchHold) as error:
                raise CommandError(str(error)) from error

    def _do(self, does: str, options: dict[str, Any]) -> None:
        if does == "place":
            cover = Cover(*(options[name] for name in ("since", "until", "person", "object", "segment")))
            if (cover == Cover()) != options["everything"]:
                raise CommandError("Say what is held: --everything, or at least one of the others.")
            placed = hold_place(actor=SYSTEM, name=options["name"], reason=options["reason"], cover=cover)
            self.stdout.write(f"Placed {placed}.")
        elif does == "lift":
            lifted = hold_lift(actor=SYSTEM, hold_id=options["number"], reason=options["reason"])
            self.stdout.write(f"Lifted {lifted}.")
        else:
            for hold in standing_holds():
                at = f"{hold.placed_at:%Y-%m-%d %H:%M}"
                self.stdout.write(f"{hold}; placed by {hold.placed_by} at {at}: {hold.reason}")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a time as in 2026-01-31T08:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
