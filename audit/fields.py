"""A field for JSON documents that are kept, character for character, as they are sealed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    _JSONField = models.JSONField[Any, Any]
else:
    _JSONField = models.JSONField

encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


class DocumentField(_JSONField):
    """A JSON object, stored as text on every database: keys sorted, no blanks, ASCII only.

    PostgreSQL's jsonb would write it anew in its own order and could not keep every character. The price: a lookup
    into the document (`detail__call`) doesn't work there; `detail__icontains` does.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Text."""
        return "text"

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """The document's text. What is text already (a search) stays as it is."""
        return value if value is None or isinstance(value, str) else encode(value)
