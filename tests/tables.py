"""Looking at what the tables hold, and at which of them are written to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connection

from audit.models import AuditEvent

#: The table of events, which only grows.
RECORD = AuditEvent._meta.db_table
_WRITING = re.compile(r'\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM|REPLACE INTO)\s+"(\w+)"', re.IGNORECASE)


@contextmanager
def writes() -> Iterator[set[str]]:
    """The tables that statements in the block write to."""
    touched: set[str] = set()

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = _WRITING.match(sql)
        if found:
            touched.add(found[1])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield touched


def contents() -> dict[str, str]:
    """Table -> a digest of all that it holds; of every table but the record."""
    tables = [model._meta.db_table for model in apps.get_models(include_auto_created=True)]
    return {table: content(table) for table in tables if table != RECORD}


def content(table: str) -> str:
    """A digest of a table's rows."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{table}" ORDER BY 1')  # noqa: S608 - a table's name, from the models
        return hashlib.sha256(repr(cursor.fetchall()).encode()).hexdigest()
