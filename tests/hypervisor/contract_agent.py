"""The contract's part about the guest agent."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from hypervisor.errors import AgentRefused, AgentUnavailable, OperationTimeout
from hypervisor.protocol import Hypervisor
from tests.hypervisor.contract_base import ContractBase, Estate, Feature, eventually, needs

needs_agent = needs(Feature.AGENT)


class AgentContract(ContractBase):
    """Files and programs inside the guest."""

    @needs_agent
    def test_the_agent_answers(self, estate: Estate, first: Hypervisor) -> None:
        first.agent_ping(estate.guest)
        assert first.guest_definition(estate.guest).agent_connected

    @needs_agent
    def test_a_guest_that_is_off_has_no_agent(self, estate: Estate, first: Hypervisor) -> None:
        first.force_off(estate.guest)
        with pytest.raises(AgentUnavailable):
            first.agent_ping(estate.guest)
        with pytest.raises(AgentUnavailable):
            first.agent_exec(estate.guest, ["/bin/true"])
        with pytest.raises(AgentUnavailable):
            first.agent_read_file(estate.guest, "/etc/hostname")

    @needs_agent
    def test_a_clock_is_read_and_set(self, estate: Estate, first: Hypervisor) -> None:
        assert abs(first.agent_clock(estate.guest) - time.time()) < 30
        with suppress(AgentRefused):  # set, and not written to the hardware clock
            first.agent_set_clock(estate.guest, 1_700_000_000.5)
        assert 1_700_000_000 <= first.agent_clock(estate.guest) < 1_700_000_060
        with suppress(AgentRefused):
            first.agent_set_clock(estate.guest, time.time())
        assert abs(first.agent_clock(estate.guest) - time.time()) < 30

    @needs_agent
    def test_a_programs_status_and_output(self, estate: Estate, first: Hypervisor) -> None:
        assert first.agent_exec(estate.guest, ["/bin/true"]).exit_code == 0
        assert first.agent_exec(estate.guest, ["/bin/false"]).exit_code == 1
        missing = first.agent_exec(estate.guest, ["/bin/cat", "/no/such/file"])
        assert missing.exit_code == 1
        assert b"/no/such/file" in missing.stderr
        assert missing.stdout == b""

    @needs_agent
    def test_arguments_are_not_for_a_shell(self, estate: Estate, first: Hypervisor) -> None:
        words = ["two  words", "$(id)", "`id`", ";", "<a>", "&", '"', "'", "*", "ü"]
        result = first.agent_exec(estate.guest, ["/bin/echo", *words])
        assert result.stdout.decode() == " ".join(words) + "\n"

    @needs_agent
    def test_what_is_not_there_is_refused(self, estate: Estate, first: Hypervisor) -> None:
        with pytest.raises(AgentRefused):
            first.agent_exec(estate.guest, ["/no/such/program"])
        with pytest.raises(AgentRefused):
            first.agent_read_file(estate.guest, "/no/such/file")
        with pytest.raises(AgentRefused):
            first.agent_exec(estate.guest, [])

    @needs_agent
    def test_a_program_that_takes_too_long(self, estate: Estate, first: Hypervisor) -> None:
        with pytest.raises(OperationTimeout):
            first.agent_exec(estate.guest, ["/bin/sleep", "30"], timeout_seconds=1)
        first.agent_ping(estate.guest)

    @needs_agent
    def test_a_file_is_written_and_read(self, estate: Estate, first: Hypervisor) -> None:
        content = bytes(range(256)) * 5000
        first.agent_write_file(estate.guest, "/root/contract", content)
        assert first.agent_read_file(estate.guest, "/root/contract", limit_bytes=2_000_000) == content
        assert first.agent_read_file(estate.guest, "/root/contract", limit_bytes=700) == content[:700]
        first.agent_write_file(estate.guest, "/root/contract", b"short")
        assert first.agent_read_file(estate.guest, "/root/contract") == b"short"
        first.agent_write_file(estate.guest, "/root/contract", b"")
        assert first.agent_read_file(estate.guest, "/root/contract") == b""

    @needs(Feature.AGENT, Feature.MIGRATION)
    def test_the_agent_goes_along(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        first.agent_write_file(estate.guest, "/root/contract", b"carried")
        first.migrate(estate.guest, estate.second_uri, estate.spec)
        eventually(estate, lambda: second.guest_definition(estate.guest).agent_connected, "the agent")
        assert second.agent_read_file(estate.guest, "/root/contract") == b"carried"
