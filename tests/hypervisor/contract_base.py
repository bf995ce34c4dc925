"""What the contract asks of an estate to be run on, and what its parts share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Protocol, TypeVar

import pytest

from hypervisor.errors import GuestNotFound
from hypervisor.protocol import Hypervisor
from hypervisor.types import GuestEvent, GuestState, MigrationSpec

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])


class Feature(StrEnum):
    """What an estate may not be able to show."""

    AGENT = "agent"  # the guest has an agent, of a Linux with /bin/true, cat, echo and sleep
    GUEST_SHUTDOWN = "guest_shutdown"  # the guest does what shutdown and reboot ask of it
    MIGRATION = "migration"
    POSTCOPY = "postcopy"
    SNAPSHOTS = "snapshots"  # internal ones, of memory too


class Estate(Protocol):
    """Two hosts between which a guest may move."""

    first_uri: str
    second_uri: str
    guest: str  # its UUID
    supports: frozenset[Feature]
    patience_seconds: float
    spec: MigrationSpec  # with which the guest migrates within the patience
    slow_spec: MigrationSpec  # with which that takes at least a second or two, and then ends

    def open(self, uri: str) -> Hypervisor:
        """Open another connection to one of the hosts."""

    def reset(self) -> None:
        """Called before each test: the guest runs on the first host, is persistent, has no snapshots, no mark and no
        autostart, and the second host does not know it. With AGENT, its agent answers."""


def needs(*features: Feature) -> Callable[[F], F]:
    """Skip a test on an estate that cannot show this."""

    def mark(test: F) -> F:
        test.needed_features = frozenset(features)  # type: ignore[attr-defined]
        return test

    return mark


class ContractBase:
    """The connections and helpers that all parts use."""

    @pytest.fixture(autouse=True)
    def _from_the_start(self, request: pytest.FixtureRequest, estate: Estate) -> None:
        needed: frozenset[Feature] = getattr(request.function, "needed_features", frozenset())
        missing = needed - estate.supports
        if missing:
            pytest.skip(f"this estate has no {', '.join(sorted(missing))}")
        estate.reset()

    @pytest.fixture
    def first(self, estate: Estate, _from_the_start: None) -> Iterator[Hypervisor]:
        """A connection to the host on which the guest runs."""
        connection = estate.open(estate.first_uri)
        yield connection
        connection.close()

    @pytest.fixture
    def second(self, estate: Estate, _from_the_start: None) -> Iterator[Hypervisor]:
        """A connection to the other host."""
        connection = estate.open(estate.second_uri)
        yield connection
        connection.close()


def eventually(estate: Estate, fact: Callable[[], T], what: str = "") -> T:
    """Wait until `fact()` is true, and return it; fail with its last value when the patience is over."""
    give_up = time.monotonic() + estate.patience_seconds
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > give_up:
            pytest.fail(f"{what or 'the fact'} did not come true in {estate.patience_seconds} s; last: {value!r}")
        time.sleep(0.02)


def state_or_none(hypervisor: Hypervisor, uuid: str) -> GuestState | None:
    """The guest's state, None when this host does not know it."""
    try:
        return hypervisor.guest_state(uuid)
    except GuestNotFound:
        return None


class Recorder:
    """A watcher that keeps what it is told."""

    def __init__(self, hypervisor: Hypervisor, *, lifecycle_only: bool = False) -> None:
        self.events: list[GuestEvent] = []
        self.closed: list[str] = []
        self.subscription = hypervisor.watch(self.events.append, self.closed.append, lifecycle_only=lifecycle_only)

    def of(self, uuid: str) -> list[tuple[str, str]]:
        """A guest's events so far, as (kind, detail)."""
        return [(event.kind.value, event.detail) for event in list(self.events) if event.uuid == uuid]

    def kinds(self, uuid: str) -> list[str]:
        """The kinds of a guest's events so far."""
        return [kind for kind, _ in self.of(uuid)]
