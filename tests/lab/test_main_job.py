"""The main job on real hypervisors, by real workers over a real Redis."""

from __future__ import annotations

import time

import pytest

from access.gate import SYSTEM
from inventory.models import Snapshot
from inventory.services.migration import vm_set_migration
from jobs.models import Step
from jobs.states import State

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def ledger(site, debian):
    """The Debian guest as installed: fresh disk, running on host1, package at 1.0."""
    site.lab.offer("1.1")
    site.lab.reset_guest(debian)
    return site.ready(debian)


def test_baseline_patch_migration_recovery(site, ledger):
    """The whole story once, each part proven by libvirt and the guest itself."""
    baseline = site.do("snapshot.create", ledger, baseline=True)
    assert baseline.state == State.SUCCEEDED, baseline.error_message

    patch = site.do("vm.patch", ledger)
    assert patch.state == State.SUCCEEDED, (patch.error_message, patch.traceback)
    assert patch.result["packages"] == [{"package": "slipway-hello", "old": "1.0", "new": "1.1"}]
    assert version_in(site, ledger) == "1.1"

    address = next(guest["address"] for guest in site.lab.status()["guests"] if guest["name"] == ledger.name)
    vm_set_migration(actor=SYSTEM, vm=ledger, policy="", address=address)
    move = site.do("vm.migrate", ledger)
    assert move.state == State.SUCCEEDED, (move.error_message, move.traceback)
    assert site.runs_on(ledger) == ["host2"]
    assert move.result["downtime_ms"] > 0
    assert move.result["downtime_source"] == "hypervisor"
    assert abs(move.result["downtime_ms"] - move.result["downtime_event_gap_ms"]) < 250
    assert move.result["downtime_outside_ms"] > move.result["downtime_ms"] - 20, move.result["downtime_outside_why"]
    assert site.snapshots(ledger, "host2") == {baseline.result["snapshot"], patch.result["snapshot"]}
    ledger.refresh_from_db()
    assert ledger.host.name == "host2"

    back = site.do("snapshot.revert", ledger, snapshot=baseline.result["snapshot"])
    assert back.state == State.SUCCEEDED, back.error_message
    assert site.runs_on(ledger) == ["host2"]
    assert back.result["safety"] in site.snapshots(ledger, "host2"), "there is a way back from this"
    assert abs(float(site.in_guest(ledger, "date", "+%s.%N")) - time.time()) < 10, back.steps.get(name="clock").detail
    assert back.result["clock_behind_seconds"] > 10, "the guest did not know what time it was"
    assert version_in(site, ledger) == "1.0"
    assert Snapshot.objects.get(vm=ledger, is_baseline=True).name == baseline.result["snapshot"]
    site.record_is_whole()


@pytest.mark.parametrize(("version", "code"), [("1.2", "patch_failed"), ("1.3", "unhealthy_after_patch")])
def test_a_patch_that_breaks_the_guest_is_rolled_back(site, ledger, version, code):
    """1.2 fails while it is installed; 1.3 installs well and its service then fails."""
    site.lab.offer(version)
    patch = site.do("vm.patch", ledger)
    assert (patch.state, patch.error_code) == (State.FAILED, code), (patch.error_message, patch.traceback)
    assert patch.result["rolled_back"] is True
    assert version_in(site, ledger) == "1.0"
    assert Step.objects.get(job=patch, name="compare").detail == "as before"
    assert site.runs_on(ledger) == ["host1"]


def version_in(site, vm) -> str:
    """The package's version, asked of the guest itself."""
    return site.in_guest(vm, "dpkg-query", "-W", "-f=${Version}", "slipway-hello")
