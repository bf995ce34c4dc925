"""Slipway in this process, on a PostgreSQL of its own, both thrown away afterwards."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bench.postgres import Postgres, postgres


@contextmanager
def installation(**settings: str) -> Iterator[Postgres]:
    """Bring it up, with settings of the server's beyond its defaults; processes started inside are of it too."""
    directory = tempfile.mkdtemp(prefix="slipway-bench-")
    try:
        with postgres(**settings) as server:
            os.environ.update(
                SLIPWAY_DATA_DIR=directory,
                SLIPWAY_DATABASE_URL=server.url,
                SLIPWAY_BROKER_URL="memory://",
                SLIPWAY_HOST_SCHEMES="sim",
                SLIPWAY_LOG_LEVEL="ERROR",
                DJANGO_SETTINGS_MODULE="portal.settings",
            )
            import django

            django.setup()
            logging.disable(logging.WARNING)  # a 404 that a benchmark asks for is none
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            yield server
    finally:
        shutil.rmtree(directory)


def execute(statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
    """Run SQL; the rows of its last statement, if it has any."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []


def facts() -> dict[str, str]:
    """The server's version, and those of its settings that decide what a commit costs."""
    names = ("fsync", "full_page_writes", "server_version", "shared_buffers", "synchronous_commit")
    found = execute("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(names)])
    return {f"postgres_{name}": setting for name, setting in sorted(found)}
