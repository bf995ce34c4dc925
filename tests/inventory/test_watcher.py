"""The watcher: what a burst of events makes it read."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from hypervisor.types import MARK_NAMESPACE, EventKind, GuestEvent
from inventory import watcher
from inventory.watcher import HostWatch
from tests import factories as make

pytestmark = pytest.mark.django_db


def event(uuid: str, kind: EventKind, detail: str = "") -> GuestEvent:
    return GuestEvent(kind, uuid, "guest", datetime.now(UTC), time.monotonic(), detail, {})


@pytest.fixture
def reads(monkeypatch):
    """What was read: ("state" | "details", uuid)."""
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(watcher, "guest_read", lambda host, connection, uuid: seen.append(("state", uuid)))
    monkeypatch.setattr(watcher, "vm_details_read", lambda vm, connection: seen.append(("details", str(vm.uuid))))
    return seen


def test_a_burst_of_events_is_one_reading_of_each_guest(reads):
    host = make.host()
    one, two = (str(make.vm(host=host).uuid) for _ in range(2))
    burst = [
        event(one, EventKind.STARTED),
        event(two, EventKind.SUSPENDED),
        event(one, EventKind.DEFINED),
        event(one, EventKind.RESUMED),
    ]
    HostWatch(host)._take_in(None, burst)
    assert reads == [("state", one), ("details", one), ("state", two)]


def test_our_own_mark_is_no_news_but_another_hand_in_the_metadata_is(reads):
    host = make.host()
    uuid = str(make.vm(host=host).uuid)
    HostWatch(host)._take_in(None, [event(uuid, EventKind.METADATA_CHANGED, MARK_NAMESPACE)])
    assert reads == []
    HostWatch(host)._take_in(None, [event(uuid, EventKind.METADATA_CHANGED, "urn:somebody")])
    assert reads == [("state", uuid), ("details", uuid)]


def test_the_end_of_a_connection_does_not_swallow_what_came_before_it(reads):
    host = make.host()
    uuid = str(make.vm(host=host).uuid)
    watch = HostWatch(host)
    watch._events.put(event(uuid, EventKind.STOPPED))
    watch._events.put("the daemon went")
    assert [item if isinstance(item, str) else item.kind for item in watch._next_events()] == [
        EventKind.STOPPED,
        "the daemon went",
    ]
