"""`manage.py audit_verify`: is the record whole?"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from audit.context import at_the_command_line
from audit.events import EventAction, Outcome
from audit.record import record_alone
from audit.verify import Report, verify


class Command(BaseCommand):
    """Ends with status 0 when the record is whole, with 1 and the first broken place when it is not."""

    help = "Verify the audit record: every row against its seal, every seal against the one before and the anchors."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--json` for programs, `--no-record` for a copy that must not be written to, `--syslog` for other anchors."""
        parser.add_argument("--json", action="store_true", help="Print the report as one JSON object.")
        parser.add_argument("--no-record", action="store_true", help="Do not write down that the record was verified.")
        told = "Take the anchors in these lines of a syslog instead of the anchor file; may be given several times."
        parser.add_argument("--syslog", action="append", type=Path, default=[], metavar="FILE", help=told)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run; exits with status 1 when the record is broken."""
        try:
            report = verify(syslog=options["syslog"])
        except OSError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(asdict(report)) if options["json"] else _in_words(report))
        if not options["no_record"]:
            self._write_down(report)
        if not report.ok:
            raise SystemExit(1)

    def _write_down(self, report: Report) -> None:
        try:
            with at_the_command_line():
                record_alone(
                    EventAction.AUDIT_VERIFIED,
                    outcome=Outcome.OK if report.ok else Outcome.FAILED,
                    detail=asdict(report),
                )
        except DatabaseError as error:
            self.stderr.write(f"That the record was verified could not be written down: {error}")


def _in_words(report: Report) -> str:
    age = report.oldest_unsealed_seconds
    lines = [
        f"Events: {report.events}; sealed and checked: {report.sealed}; waiting for the sealer: {report.unsealed}"
        + ("." if age is None else f", the oldest for {age:.1f} s."),
        *_archived(report),
        *(f"Remark: {remark}" for remark in report.remarks),
    ]
    if report.first_break is None:
        lines.append(f"The record is whole: {report.sealed} seals, and the anchors agree.")
    else:
        lines.append(f"The record is BROKEN: {report.first_break.sentence}")
    return "\n".join(lines)


def _archived(report: Report) -> Iterator[str]:
    if not report.archived:
        return
    oldest = report.archived[0]
    if oldest.first > 1:
        yield f"Seals 1 to {oldest.first - 1} were archived before, in {oldest.archives - 1} files; later ones tell."
    yield from map(str, report.archived)
