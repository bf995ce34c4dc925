"""The locks that let one sealer, and one archiving, work at a time: advisory on PostgreSQL, a locked file on SQLite.
The file alone serves what there is once a machine.

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

# Any constants will do; these are words in ASCII.
_SEALER = int.from_bytes(b"slipseal", "big", signed=True)
_ARCHIVE = int.from_bytes(b"sliparch", "big", signed=True)
_HOLDS = int.from_bytes(b"sliphold", "big", signed=True)


@contextmanager
def sealer_lock(directory: Path) -> Iterator[bool]:
    """Try to become the one sealer; yields whether that worked. `directory` holds the lock file where one is used."""
    with _lock(_SEALER, directory / "sealer.lock") as acquired:
        yield acquired


@contextmanager
def archive_lock(directory: Path) -> Iterator[bool]:
    """Try to become the one that archives, as above."""
    with _lock(_ARCHIVE, directory / "archive.lock") as acquired:
        yield acquired


def lock_holds() -> None:
    """Until the end of the transaction, no hold comes or goes elsewhere. (On SQLite only one writes anyway.)"""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_HOLDS])


@contextmanager
def _lock(advisory_key: int, path: Path) -> Iterator[bool]:
    if connection.vendor == "postgresql":
        with _advisory_lock(advisory_key) as acquired:
            yield acquired
    else:
        with file_lock(path) as acquired:
            yield acquired


@contextmanager
def _advisory_lock(advisory_key: int) -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [advisory_key])
        acquired = bool(cursor.fetchone()[0])
    try:
        yield acquired
    finally:
        if acquired:
            _release_advisory_lock(advisory_key)


def _release_advisory_lock(advisory_key: int) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [advisory_key])
    except Error:
        connection.close()  # the session ends, and the lock with it


@contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Try to become the one on this machine that holds a file; yields whether that worked."""
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
