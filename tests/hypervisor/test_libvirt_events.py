"""The way of an event: a slow, failing or lagging watcher harms itself only, and learns what it missed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import libvirt
import pytest

from hypervisor.libvirt_driver import events
from hypervisor.libvirt_driver.events import BACKLOG, EVENTS_LOST, READERS, Delivery, callback
from hypervisor.libvirt_driver.states import job_activity, lifecycle, power_state, state_reason
from hypervisor.types import Activity, EventKind, GuestEvent, PowerState, StateReason

PATIENCE = 20.0


class Domain:
    """As much of a virDomain as an event carries."""

    def name(self) -> str:
        return "web <01>"

    def UUIDString(self) -> str:
        return "0e7de9e1-a6a3-5dd3-815c-9a546c0cbf00"


class Heard:
    """A watcher, which may be held up."""

    def __init__(self) -> None:
        self.events: list[GuestEvent] = []
        self.closed: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.delivery = Delivery(self.hear, self.closed.append)

    def hear(self, event: GuestEvent) -> None:
        self.go_on.wait(PATIENCE)
        self.events.append(event)

    def wait_for(self, fact: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE
        while not fact():
            assert time.monotonic() < give_up, (len(self.events), self.events[-3:], self.closed)
            time.sleep(0.005)


@pytest.fixture
def heard() -> Any:
    watcher = Heard()
    yield watcher
    watcher.go_on.set()
    watcher.delivery.end()


def announce(watcher: Heard, number: int, *arguments: Any) -> None:
    """What libvirt's event loop does with an event."""
    callback(watcher.delivery, READERS[number])(None, Domain(), *arguments, None)


STATS = {
    "type": 3,
    "operation": libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
    "time_elapsed": 393,
    "downtime": 36,
    "memory_total": 2**28,
    "memory_dirty_rate": 100,
    "memory_page_size": 4096,
    "memory_iteration": 3,
}


@pytest.mark.parametrize(
    ("number", "arguments", "kind", "detail", "data"),
    [
        (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, (2, 1), EventKind.STARTED, "migrated", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, (3, 8), EventKind.SUSPENDED, "postcopy_failed", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, (5, 99), EventKind.STOPPED, "", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, (99, 0), EventKind.OTHER, "", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, (), EventKind.REBOOTED, "", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, (2, "urn:x"), EventKind.METADATA_CHANGED, "urn:x", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, (0, None), EventKind.METADATA_CHANGED, "", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, (4,), EventKind.MIGRATION_ITERATION, "", {"iteration": 4}),
        (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, (1, 2), EventKind.AGENT_CONNECTED, "agent", {}),
        (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, (2, 2), EventKind.AGENT_DISCONNECTED, "agent", {}),
        (
            libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
            ("/a", "vda", 1, "enospc"),
            EventKind.OTHER,
            "io_error",
            {"reason": "enospc"},
        ),
    ],
)
def test_an_event_says_what_happened(
    heard: Heard, number: int, arguments: tuple[Any, ...], kind: EventKind, detail: str, data: dict[str, Any]
) -> None:
    announce(heard, number, *arguments)
    heard.wait_for(lambda: heard.events)
    (event,) = heard.events
    assert (event.kind, event.detail, event.data) == (kind, detail, data)
    assert (event.uuid, event.name) == (Domain().UUIDString(), Domain().name())


def test_a_completed_migration_comes_with_its_figures(heard: Heard) -> None:
    announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, STATS)
    announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, {"type": 3, "operation": 6, "success": False})
    heard.wait_for(lambda: len(heard.events) == 2)
    migration, snapshot = (event.data for event in heard.events)
    assert migration["success"]
    assert (migration["activity"], migration["completed"]) == (Activity.MIGRATION_OUT, True)
    assert (migration["elapsed_ms"], migration["downtime_ms"], migration["dirty_bps"]) == (393, 36, 409_600)
    assert snapshot == {"success": False}


def test_a_slow_watcher_does_not_hold_up_the_loop_and_learns_what_it_missed(heard: Heard) -> None:
    heard.go_on.clear()
    flood = BACKLOG + 500
    for _ in range(flood):
        announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT)
    heard.go_on.set()
    heard.wait_for(lambda: any(event.detail == EVENTS_LOST for event in heard.events))
    heard.wait_for(lambda: heard.delivery._queue.empty())
    announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, 0)
    heard.wait_for(lambda: heard.events[-1].kind is EventKind.DEFINED)
    lost = sum(event.data["count"] for event in heard.events if event.detail == EVENTS_LOST)
    arrived = sum(event.kind is EventKind.REBOOTED for event in heard.events)
    assert lost >= 499
    assert arrived + lost == flood


def test_a_watcher_that_fails_gets_the_next(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[GuestEvent] = []
    both = threading.Event()

    def hear(event: GuestEvent) -> None:
        heard.append(event)
        if len(heard) == 1:
            raise ValueError("a watcher's own mistake")
        both.set()

    delivery = Delivery(hear, lambda _reason: None)
    for _ in range(2):
        callback(delivery, events._on_reboot)(None, Domain(), None)
    assert both.wait(PATIENCE)
    delivery.end()
    assert "a watcher's own mistake" in caplog.text


def test_an_end_waits_for_the_delivery_under_way_and_nothing_comes_after_it(heard: Heard) -> None:
    heard.go_on.clear()
    for _ in range(3):
        announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT)
    heard.wait_for(lambda: heard.delivery._queue.qsize() == 2)
    ending = threading.Thread(target=heard.delivery.end)
    ending.start()
    assert ending.is_alive()
    heard.go_on.set()
    ending.join(PATIENCE)
    assert not ending.is_alive()
    count = len(heard.events)
    announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT)
    assert count <= 3
    assert len(heard.events) == count
    assert not heard.delivery.end()


def test_the_end_of_the_connection_comes_last_and_once(heard: Heard) -> None:
    heard.go_on.clear()
    for _ in range(BACKLOG + 10):
        announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT)
    heard.delivery.announce_close("gone")
    heard.delivery.announce_close("gone again")
    announce(heard, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, 0)
    heard.go_on.set()
    heard.wait_for(lambda: heard.closed)
    assert heard.closed == ["gone"]
    assert all(event.kind is not EventKind.DEFINED for event in heard.events)


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (1, 1, (PowerState.RUNNING, StateReason.BOOTED)),
        (1, 2, (PowerState.RUNNING, StateReason.MIGRATED)),
        (1, 10, (PowerState.RUNNING, StateReason.POSTCOPY)),
        (1, 3, (PowerState.RUNNING, StateReason.OTHER)),
        (3, 2, (PowerState.PAUSED, StateReason.MIGRATION)),
        (3, 3, (PowerState.PAUSED, StateReason.SAVE)),
        (3, 5, (PowerState.PAUSED, StateReason.IO_ERROR)),
        (3, 12, (PowerState.PAUSED, StateReason.POSTCOPY)),
        (3, 13, (PowerState.PAUSED, StateReason.POSTCOPY_FAILED)),
        (4, 0, (PowerState.RUNNING, StateReason.SHUTDOWN)),
        (5, 4, (PowerState.SHUT_OFF, StateReason.MIGRATED)),
        (5, 6, (PowerState.SHUT_OFF, StateReason.FAILED)),
        (5, 8, (PowerState.SHUT_OFF, StateReason.OTHER)),
        (6, 1, (PowerState.CRASHED, StateReason.CRASHED)),
        (7, 0, (PowerState.SUSPENDED, StateReason.OTHER)),
        (0, 0, (PowerState.UNKNOWN, StateReason.OTHER)),
        (77, 77, (PowerState.UNKNOWN, StateReason.OTHER)),
    ],
)
def test_states_and_reasons(state: int, reason: int, expected: tuple[PowerState, StateReason]) -> None:
    assert (power_state(state), state_reason(state, reason)) == expected


@pytest.mark.parametrize(
    ("job_type", "operation", "expected"),
    [
        (0, 0, Activity.NONE),
        (2, 5, Activity.MIGRATION_OUT),
        (1, 4, Activity.MIGRATION_IN),
        (2, 6, Activity.SNAPSHOT),
        (2, 7, Activity.SNAPSHOT),
        (2, 10, Activity.SNAPSHOT),
        (2, 9, Activity.OTHER),
        (2, 99, Activity.OTHER),
        (3, 5, Activity.NONE),
        (5, 5, Activity.NONE),
    ],
)
def test_activities(job_type: int, operation: int, expected: Activity) -> None:
    assert job_activity(job_type, operation) is expected


def test_every_detail_of_libvirts_lifecycle_has_its_name() -> None:
    """The names are libvirt's own, lower-case, in the order of its numbers."""
    prefixes = {
        name.removeprefix("VIR_DOMAIN_EVENT_"): number
        for name, number in vars(libvirt).items()
        if name in {f"VIR_DOMAIN_EVENT_{kind}" for kind in ("DEFINED", "UNDEFINED", "STARTED", "STOPPED", "CRASHED")}
    }
    assert len(prefixes) == 5
    for kind, number in prefixes.items():
        details = {
            value: name.removeprefix(f"VIR_DOMAIN_EVENT_{kind}_").lower()
            for name, value in vars(libvirt).items()
            if name.startswith(f"VIR_DOMAIN_EVENT_{kind}_")
        }
        for value, name in details.items():
            assert lifecycle(number, value)[1].replace("_", "") == name.replace("_", "")
