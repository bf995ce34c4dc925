"""Reading a body: strict JSON, so that what is stored is what was meant."""

from __future__ import annotations

import json
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

#: No request of this API is near these.
LONGEST_BODY = 1 << 20
DEEPEST = 32


class BodyTooLarge(APIException):
    """The body is longer than any request of this API."""

    status_code = 413
    default_code = "too_large"
    default_detail = f"A body has at most {LONGEST_BODY} bytes."


class StrictJSONParser(BaseParser):
    """JSON in UTF-8 (RFC 8259) without repeated names, NaN, NUL characters, half characters or deep nesting."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: dict[str, Any] | None = None
    ) -> Any:
        """Raises ParseError, BodyTooLarge."""
        raw = stream.read(LONGEST_BODY + 1)
        if len(raw) > LONGEST_BODY:
            raise BodyTooLarge
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_repetition)
        except RecursionError:
            raise ParseError(f"The body is nested more than {DEEPEST} deep.") from None
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from error
        _check(value, 0)
        return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number.")


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("An object names a member twice.")
    return found


def _check(value: Any, depth: int) -> None:
    """Refuse what a database, or the JSON that is written later, could not hold."""
    if depth > DEEPEST:
        raise ParseError(f"The body is nested more than {DEEPEST} deep.")
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ParseError("The body has a NUL or half a character in a text.")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
