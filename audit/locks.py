"""The lock that lets one sealer work at a time: an advisory lock of PostgreSQL, or a locked file beside SQLite.

Both go when their holder dies, however it dies. PostgreSQL's is tied to the database session that also writes the
seals, so a sealer that loses its session can't write on without the lock. (A pooler in transaction mode breaks this.)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import Error, connection

# Any constant will do; this is "slipseal" in ASCII.
_ADVISORY_KEY = int.from_bytes(b"slipseal", "big", signed=True)


@contextmanager
def sealer_lock(directory: Path) -> Iterator[bool]:
    """Try to become the one sealer; yields whether that worked. `directory` holds the lock file where one is used."""
    if connection.vendor == "postgresql":
        with _advisory_lock() as acquired:
            yield acquired
    else:
        with _file_lock(directory / "sealer.lock") as acquired:
            yield acquired


@contextmanager
def _advisory_lock() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_KEY])
        acquired = bool(cursor.fetchone()[0])
    try:
        yield acquired
    finally:
        if acquired:
            _release_advisory_lock()


def _release_advisory_lock() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_ADVISORY_KEY])
    except Error:
        connection.close()  # the session ends, and the lock with it


@contextmanager
def _file_lock(path: Path) -> Iterator[bool]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _flocked(descriptor)
    finally:
        os.close(descriptor)


def _flocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
