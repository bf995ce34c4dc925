"""The contract, kept by the libvirt driver on real hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.estate import Lab
from tests.hypervisor.contract_agent import AgentContract
from tests.hypervisor.contract_base import Estate, Feature
from tests.hypervisor.contract_basics import BasicsContract
from tests.hypervisor.contract_console import ConsoleContract
from tests.hypervisor.contract_migration import MigrationContract
from tests.hypervisor.contract_snapshots import SnapshotContract
from tests.hypervisor.lab_estate import LabEstate

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def tiny(hosts: Lab) -> Iterator[LabEstate]:
    """With a guest that has no agent."""
    estate = LabEstate(hosts, "tiny", frozenset(Feature) - {Feature.AGENT})
    yield estate
    estate.close()


@pytest.fixture(scope="module")
def debian(hosts: Lab) -> Iterator[LabEstate]:
    """With a guest that has one."""
    hosts.add_guest("debian", "debian", 1)
    estate = LabEstate(hosts, "debian", frozenset({Feature.AGENT, Feature.MIGRATION, Feature.SNAPSHOTS}))
    yield estate
    estate.close()
    hosts.remove_guest("debian")


class TestLibvirt(BasicsContract, SnapshotContract, MigrationContract, ConsoleContract):
    """The whole contract but the agent's part."""

    @pytest.fixture
    def estate(self, tiny: LabEstate) -> Estate:
        return tiny


class TestLibvirtAgent(AgentContract):
    """The agent's part, what only an agent can tell of snapshots, and what only a shell can tell of a console."""

    test_a_revert_brings_the_disk_back = SnapshotContract.test_a_revert_brings_the_disk_back
    test_what_is_typed_arrives_and_is_answered = ConsoleContract.test_what_is_typed_arrives_and_is_answered

    @pytest.fixture
    def estate(self, debian: LabEstate) -> Estate:
        return debian
