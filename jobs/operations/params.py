"""Cleaning the parameters of a request: small functions that take a raw mapping and refuse what they do not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.errors import InvalidRequest


def only(params: Mapping[str, Any], *names: str) -> None:
    """Refuse parameters other than these."""
    unknown = sorted(set(params) - set(names))
    if unknown:
        raise InvalidRequest(f"Unknown parameter “{unknown[0][:60]}”.", field=f"params.{unknown[0][:60]}")


def no_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """For operations without parameters."""
    only(params)
    return {}


def text(params: Mapping[str, Any], name: str, *, default: str | None = None, longest: int = 200) -> str:
    """A text without control characters; required when there is no default."""
    value = params.get(name, default)
    if value is None:
        raise InvalidRequest(f"“{name}” is required.", field=f"params.{name}")
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidRequest(f"“{name}” is a text of at most {longest} characters.", field=f"params.{name}")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in value):
        raise InvalidRequest(f"“{name}” has control characters in it.", field=f"params.{name}")
    return value.strip()


def integer(params: Mapping[str, Any], name: str, *, default: int | None, low: int, high: int) -> int | None:
    """A whole number in a range, or the default when it is absent or null."""
    value = params.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(f"“{name}” is a whole number from {low} to {high}.", field=f"params.{name}")
    return value


def boolean(params: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """True or false."""
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"“{name}” is true or false.", field=f"params.{name}")
    return value


def choice(params: Mapping[str, Any], name: str, options: tuple[str, ...], *, default: str) -> str:
    """One of several words."""
    value = params.get(name, default)
    if value not in options:
        raise InvalidRequest(f"“{name}” is one of {', '.join(options)}.", field=f"params.{name}")
    return str(value)
