"""Requests to change the inventory that can't be followed."""

from __future__ import annotations


class InvalidInventoryRequest(Exception):
    """The request makes no sense; `field` names the offending input, the message says what is wrong with it."""

    code = "invalid"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InventoryConflict(Exception):
    """The request makes sense, but not as things are; the message says what stands in its way."""

    code = "conflict"
