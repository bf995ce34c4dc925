"""`manage.py audit_export`: the record, or a part of it, as a file that can be checked without Slipway."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.arguments import moment
from audit.context import at_the_command_line
from audit.export import JsonLines, of_range, told


class Command(BaseCommand):
    """Writes the file at once or not at all, readable by its owner only, and records that it was made."""

    help = "Export the audit record as JSON lines, with its seals; audit/offline/ has what checks them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--since` and `--until` (not included) bound the time; without them, the whole record."""
        parser.add_argument("--since", type=moment, metavar="ISO", help="From this time on (UTC unless it says).")
        parser.add_argument("--until", type=moment, metavar="ISO", help="Before this time.")
        parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="A file that is not there yet.")

    def handle(self, *args: Any, since: datetime | None, until: datetime | None, to: Path, **options: Any) -> None:
        """Run. Raises CommandError when the file is there or can't be written."""
        if to.exists():
            raise CommandError(f"{to} is there already.")
        draft = to.with_name(f".{to.name}.{os.getpid()}")
        with at_the_command_line():
            export = of_range(since=since, until=until)
            try:
                digest = _write(export, draft, to)
            except OSError as error:
                raise CommandError(f"The export can't be written: {error}") from error
            finally:
                draft.unlink(missing_ok=True)
        self.stdout.write(_in_words(export, to, digest))


def _write(export: JsonLines, draft: Path, to: Path) -> str:
    digests: list[str] = []
    facts = {"format": "jsonl", "coverage": "range", "query": export.query, "file": str(to)}
    # Opened first: where nothing can be written, nothing was taken.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        chunks = told(export.chunks(), export.tally, facts, finished=digests.append)
        try:
            for chunk in chunks:
                handle.write(chunk)
        finally:
            chunks.close()
        handle.flush()
        os.fsync(handle.fileno())
    os.link(draft, to)  # not a rename: that would replace a file made meanwhile
    return digests[0]


def _in_words(export: JsonLines, to: Path, digest: str) -> str:
    span, tally = export.span, export.tally
    seals = f"seals {span.first} to {span.last}" if span else "no seals"
    return "\n".join(
        [
            f"{to}: {tally.events} events, {seals}; waiting for the sealer: {tally.unsealed}.",
            f"Head of the chain: seal {export.head.sequence}, {export.head.mac}",
            f"SHA-256 {digest}, which the record of this export holds too.",
        ]
    )
