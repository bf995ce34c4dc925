"""What commands are asked."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """A time in ISO 8601; in UTC unless it says. Raises ArgumentTypeError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a time as in 2026-01-31T08:00:00Z") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
