"""Invalid requests to change the inventory."""

from __future__ import annotations


class InvalidInventoryRequest(Exception):
    """The request makes no sense; `field` names the offending input, the message says what is wrong with it."""

    code = "invalid"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
