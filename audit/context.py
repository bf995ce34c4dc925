"""Who is acting, by which door, in which request or job: set once at the boundary, read by `record()`.

The context is a context variable: each thread and each asyncio task has its own. A new thread starts with the default
one, so that work handed to a pool is never attributed by accident; `carry()` takes the context along on purpose.
"""

from __future__ import annotations

import contextvars
import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, get_args

ActorKindName = Literal["user", "system", "anonymous"]
ViaName = Literal["web", "api", "job", "cli", "system"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of what is being done. Empty text means "none"."""

    actor_id: str = ""
    actor_name: str = "system"
    actor_kind: ActorKindName = "system"
    via: ViaName = "system"
    request_id: str = ""
    job_id: str = ""
    source_address: str = ""
    token_id: str = ""
    on_behalf_of_id: str = ""
    on_behalf_of_name: str = ""
    #: Asked when something is recorded: as what the actor stands out (an administrator), if at all.
    standing: Callable[[], str] = str

    def __post_init__(self) -> None:
        if self.actor_kind not in get_args(ActorKindName):
            raise ValueError(f"There is no kind of actor {self.actor_kind!r}.")
        if self.via not in get_args(ViaName):
            raise ValueError(f"There is no door {self.via!r}.")


_SLIPWAY_ITSELF = Context()
_current: contextvars.ContextVar[Context] = contextvars.ContextVar("slipway_audit_context", default=_SLIPWAY_ITSELF)


def current() -> Context:
    """The context in force; Slipway itself where none was set."""
    return _current.get()


@contextmanager
def acting(**changes: Any) -> Iterator[Context]:
    """Change fields of the context for the length of the block. Nests. Raises TypeError for an unknown field."""
    context = replace(_current.get(), **changes)
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


@contextmanager
def acting_as(user: Any, *, via: ViaName, **changes: Any) -> Iterator[Context]:
    """Act as a user by a door. A token or a principal of whoever acted before is not inherited.

    `user` is a user model, Django's anonymous user, `access.gate.SYSTEM`, or None for "not signed in".
    """
    fresh = {"token_id": "", "on_behalf_of_id": "", "on_behalf_of_name": "", "standing": str}
    with acting(**{**fresh, **actor_fields(user), "via": via, **changes}) as context:
        yield context


@contextmanager
def at_the_command_line() -> Iterator[Context]:
    """Act as whoever is at the server's command line: the record names their account there."""
    with acting(actor_name=f"{_account()} (command line)", via="cli") as context:
        yield context


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


def actor_fields(user: Any) -> dict[str, str]:
    """`actor_id`, `actor_name` and `actor_kind` of a user, an anonymous user, the system, or None (not signed in)."""
    if user is None or getattr(user, "is_anonymous", False):
        return {"actor_id": "", "actor_name": "", "actor_kind": "anonymous"}
    if user.pk is None:
        return {"actor_id": "", "actor_name": str(user.username), "actor_kind": "system"}
    return {"actor_id": str(user.pk), "actor_name": str(user.get_username()), "actor_kind": "user"}


def carry(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wrap a callable so that it runs in a copy of today's context, whichever thread calls it, and however often."""
    captured = contextvars.copy_context()

    @wraps(function)
    def carried(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # A copy per call: one Context object cannot be entered by two threads at a time.
        return captured.copy().run(function, *args, **kwargs)

    return carried
