"""An estate for the contract, made of a lab's two real hosts and one of its guests."""

from __future__ import annotations

from hypervisor.connect import connect
from hypervisor.errors import AgentUnavailable, HypervisorError
from hypervisor.protocol import Hypervisor
from hypervisor.types import Activity, GuestState, MigrationSpec, PowerState
from hypervisor.uri import ALL_SCHEMES, parse_host_uri
from lab.estate import Lab
from tests.hypervisor.contract_base import Feature, state_or_none


class LabEstate:
    """The estate; its connections for putting things right stay open from test to test.

    Migration is `unsafe` since the hosts share their storage by being on one machine, which libvirt cannot see.
    """

    patience_seconds = 90.0
    spec = MigrationSpec(unsafe=True)
    slow_spec = MigrationSpec(unsafe=True, bandwidth_mib=8)

    def __init__(self, lab: Lab, guest: str, supports: frozenset[Feature]) -> None:
        described = lab.status()
        self.lab = lab
        self.name = guest
        self.guest: str = next(one["uuid"] for one in described["guests"] if one["name"] == guest)
        self.first_uri, self.second_uri = (str(one["uri"]) for one in described["hosts"][:2])
        self.supports = supports
        self._hosts: dict[str, Hypervisor] = {}

    def open(self, uri: str) -> Hypervisor:
        """A connection, as the rest of Slipway gets one."""
        return connect(parse_host_uri(uri, allowed=ALL_SCHEMES))

    def reset(self) -> None:
        """Put right what the last test changed, and only that: a fresh boot takes seconds."""
        if not self._comes_home():
            self.lab.reset_guest(self.name)
        first = self._host(self.first_uri)
        self._delete_snapshots(first)
        first.mark_operation(self.guest, "")
        first.set_autostart(self.guest, False)
        self._wait_for_agent(first)

    def close(self) -> None:
        """Close the estate's own connections."""
        for connection in self._hosts.values():
            connection.close()

    def _host(self, uri: str) -> Hypervisor:
        if uri not in self._hosts or not self._hosts[uri].is_alive():
            self._hosts[uri] = self.open(uri)
        return self._hosts[uri]

    def _comes_home(self) -> bool:
        """Bring the guest back as it is, running; False if that is not to be had."""
        first, second = self._host(self.first_uri), self._host(self.second_uri)
        here, there = state_or_none(first, self.guest), state_or_none(second, self.guest)
        if here is not None and there is None:
            return self._is_well(first, here)
        if there is None or here is not None or not self._is_well(second, there):
            return False
        try:
            self._delete_snapshots(second)
            second.migrate(self.guest, self.first_uri, self.spec)
        except HypervisorError:
            return False
        return True

    def _is_well(self, host: Hypervisor, state: GuestState) -> bool:
        running = state.persistent and state.state is PowerState.RUNNING
        return running and host.activity(self.guest) is Activity.NONE

    def _delete_snapshots(self, host: Hypervisor) -> None:
        for snapshot in reversed(host.list_snapshots(self.guest)):
            host.snapshot_delete(self.guest, snapshot.name)

    def _wait_for_agent(self, first: Hypervisor) -> None:
        if Feature.AGENT not in self.supports:
            return
        try:
            first.agent_ping(self.guest)
        except AgentUnavailable:
            self.lab.wait_ready(self.name)
