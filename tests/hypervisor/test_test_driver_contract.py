"""The part of the contract that libvirt's own test driver can show: fast, and without a host."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest

from hypervisor.libvirt_driver import open_libvirt
from hypervisor.libvirt_driver.loop import ensure_event_loop
from hypervisor.protocol import Hypervisor
from hypervisor.types import MigrationSpec
from tests.hypervisor.contract_base import Estate
from tests.hypervisor.contract_basics import BasicsContract

URI = "test:///default"

#: What libvirt's test driver cannot show, and why.
LEFT_OUT = {
    "test_a_host_says_who_it_is": "its host has no UUID",
    "test_a_guest_is_listed_where_it_is_and_nowhere_else": "it is one host",
    "test_a_lost_definition_is_brought_back": "it is one host",
    "test_a_running_guest_has_a_pulse": "its CPU time is the clock",
    "test_the_cpu_times_are_those_of_the_running_guests": "its CPU time is the clock",
    "test_a_guest_at_rest": "it has no jobs, and its disks are in error",
    "test_a_guest_is_switched_off_and_on": "it gives other reasons",
    "test_a_guest_is_defined_and_undefined_with_hostile_words_shown_literally": "it takes no QEMU guests",
    "test_a_definition_takes_nobody_elses_place": "it takes no QEMU guests",
}


class DriverEstate:
    """One host of libvirt's test driver, which is there as long as a handle is open."""

    first_uri = second_uri = URI
    guest = "6695eb01-f6a4-8304-79aa-97f2502e193f"
    supports: frozenset[str] = frozenset()
    patience_seconds = 10.0
    spec = slow_spec = MigrationSpec()

    def open(self, uri: str) -> Hypervisor:
        """A connection; `connect` would do the same."""
        return open_libvirt(uri)

    def reset(self) -> None:
        """Each test begins with a fresh host; see the fixture."""


class TestTestDriver(BasicsContract):
    """Wiring, threads, events and errors through the real binding."""

    @pytest.fixture(autouse=True)
    def _what_it_can_show(self, request: pytest.FixtureRequest) -> None:
        reason = LEFT_OUT.get(request.function.__name__)
        if reason:
            pytest.skip(f"libvirt's test driver: {reason}")

    @pytest.fixture
    def estate(self) -> Iterator[Estate]:
        ensure_event_loop()
        handle = libvirt.open(URI)
        yield DriverEstate()
        for domain in handle.listAllDomains():
            if not domain.isActive():
                domain.create()
            domain.setAutostart(False)
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, None, "urn:slipway:operation:1", 3)
        handle.close()


def test_nothing_is_left_out_that_is_not_there() -> None:
    assert set(LEFT_OUT) <= set(dir(BasicsContract))
