"""A record whose oldest part is old enough to go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from audit.models import AuditEvent
from tests.audit.helpers import seal, write

#: Some days before the day of the archive, so that "before" is between the old part and the new one.
OLD = timedelta(days=500)
BEFORE = (datetime.now(UTC) - timedelta(days=400)).date().isoformat()


@contextmanager
def long_ago(by: timedelta = OLD) -> Iterator[None]:
    """Inside, events happen and are sealed that long ago."""
    now = timezone.now
    with mock.patch.object(timezone, "now", side_effect=lambda: now() - by):
        yield


def old_events(count: int, *, name: str = "web-1") -> list[AuditEvent]:
    """Events of long ago, sealed."""
    with long_ago():
        events = write(count, name=name)
        seal()
    return events


def archive_file(name: str = "archive-1.jsonl") -> Path:
    """Where a test's archive goes."""
    return Path(settings.SLIPWAY_SEAL_KEY_FILE).parent.parent / name


def archive(name: str = "archive-1.jsonl", *, before: str = BEFORE) -> str:
    """Archive what is old; returns what the command printed."""
    with StringIO() as out:
        call_command(
            "audit_archive", "--before", before, "--to", str(archive_file(name)), "--reason", "old", stdout=out
        )
        return out.getvalue()
