"""Why a console does not open, or does not go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from console.models import Console


class ConsoleError(Exception):
    """The family. `code` is stable; `str(error)` is one sentence for a person."""

    code = "console_error"


class TicketInvalid(ConsoleError):
    """The ticket is unknown, used, too old, or from a sign-in that has ended: told all in the same words.

    `console` is what it was for, where that is known.
    """

    code = "ticket_invalid"

    def __init__(self, console: Console | None = None) -> None:
        self.console = console
        super().__init__("The ticket is not valid (any more): ask for the console again.")


class NoHost(ConsoleError):
    """The VM is on no host, or two hosts run it at once, and nobody can say which one is meant."""

    code = "no_host"

    def __init__(self) -> None:
        super().__init__("The VM is on no host, or on two at once, so that there is no console to open.")


class BrowserGone(Exception):
    """The browser went while it was spoken to."""
