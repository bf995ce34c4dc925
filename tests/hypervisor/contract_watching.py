"""The contract's part about events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypervisor.protocol import Hypervisor
from tests.hypervisor.contract_base import ContractBase, Estate, Recorder, eventually


class WatchingContract(ContractBase):
    """What a watcher hears, and when it hears no more."""

    def test_a_watcher_hears_of_power(self, estate: Estate, first: Hypervisor) -> None:
        watcher = Recorder(first)
        began = datetime.now(UTC)
        first.force_off(estate.guest)
        first.start(estate.guest)
        eventually(estate, lambda: "started" in watcher.kinds(estate.guest), "a STARTED event")
        heard = watcher.of(estate.guest)
        assert heard.index(("stopped", "destroyed")) < heard.index(("started", "booted"))
        event = next(event for event in watcher.events if event.uuid == estate.guest)
        assert event.name == first.guest_state(estate.guest).name
        assert event.at.utcoffset() == timedelta(0)
        assert abs(event.at - began) < timedelta(seconds=estate.patience_seconds)
        watcher.subscription.stop()

    def test_a_watcher_that_stopped_hears_nothing_more(self, estate: Estate, first: Hypervisor) -> None:
        stopped, listening = Recorder(first), Recorder(first)
        stopped.subscription.stop()
        stopped.subscription.stop()
        first.force_off(estate.guest)
        eventually(estate, lambda: "stopped" in listening.kinds(estate.guest), "a STOPPED event")
        assert stopped.events == []
        listening.subscription.stop()

    def test_a_watcher_may_ask_for_the_life_cycle_only(self, estate: Estate, first: Hypervisor) -> None:
        everything, life_cycle = Recorder(first), Recorder(first, lifecycle_only=True)
        first.mark_operation(estate.guest, "a-job")
        first.force_off(estate.guest)
        for watcher in (everything, life_cycle):
            eventually(estate, lambda watcher=watcher: "stopped" in watcher.kinds(estate.guest), "a STOPPED event")
            watcher.subscription.stop()
        assert set(life_cycle.kinds(estate.guest)) <= {"stopped", "other"}, "libvirt tells of a shutdown under way, too"
        if not estate.first_uri.startswith("test:"):  # libvirt's test driver tells of no change of metadata
            assert "metadata_changed" in everything.kinds(estate.guest)

    def test_a_watcher_may_stop_itself_and_may_fail(self, estate: Estate, first: Hypervisor) -> None:
        heard: list[str] = []

        def hear_one_and_stop(event: Any) -> None:
            heard.append(event.kind)
            subscription.stop()
            raise ValueError("a watcher's own mistake")

        subscription = first.watch(hear_one_and_stop, lambda _reason: None)
        other = Recorder(first)
        first.force_off(estate.guest)
        first.start(estate.guest)
        eventually(estate, lambda: "started" in other.kinds(estate.guest), "a STARTED event")
        eventually(estate, lambda: heard, "an event of the first watcher's: each has a thread of its own")
        assert len(heard) == 1
        other.subscription.stop()
