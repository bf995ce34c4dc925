"""A record whose oldest part is old enough to go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from audit.events import EventAction
from audit.export import of_range
from audit.models import AuditEvent
from audit.record import Target, record_alone
from audit.verify import Break, verify
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


def found() -> Break:
    """The first break, which there must be."""
    report = verify()
    assert not report.ok
    assert report.first_break is not None
    return report.first_break


def old_and_new(old: int = 6, new: int = 4) -> None:
    """A record: seals 1 to `old` are old enough to go, `new` follow."""
    old_events(old)
    write(new)
    seal()


def export_file(name: str = "export.jsonl") -> Path:
    """An export of what is in the record, in a file."""
    path = archive_file(name)
    path.write_bytes(b"".join(of_range().chunks()))
    return path


def tell(detail: dict[str, Any], last: str = "3") -> AuditEvent:
    """That something was archived, as anybody can say who can write into the database."""
    return record_alone(EventAction.AUDIT_ARCHIVED, target=Target("audit_archive", last), detail=detail)
