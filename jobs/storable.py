"""What a guest or a host says, made fit for every database."""

from __future__ import annotations

from typing import Any

#: PostgreSQL takes NUL neither in text nor in JSON; shown, it is no less true.
_SHOWN = "\N{SYMBOL FOR NULL}"


def storable(value: Any) -> Any:
    """The same value with NUL characters shown, in text, and in text within lists and dictionaries."""
    if isinstance(value, str) and type(value) is str:
        return value.replace("\0", _SHOWN)
    if isinstance(value, dict):
        return {storable(name): storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
