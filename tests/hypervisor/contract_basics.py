"""The contract's part about connections, reading, power, definitions, events and threads."""

from __future__ import annotations

import threading
import uuid as uuids
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree.ElementTree import SubElement
from xml.sax.saxutils import escape

import pytest

from hypervisor.document import lines_of, parse, text_of, write
from hypervisor.errors import (
    GuestExists,
    GuestNotFound,
    GuestStateInvalid,
    HostUnreachable,
    HypervisorError,
)
from hypervisor.protocol import Hypervisor
from hypervisor.types import NIC, Activity, MigrationSpec, PowerState, StateReason
from tests.hypervisor.contract_base import Estate, Feature, Recorder, eventually, needs, state_or_none
from tests.hypervisor.contract_watching import WatchingContract

#: Text that is dangerous to XML, to a shell, to a format string, or to a path.
HOSTILE = "<b>&amp; ' ; $(id) `id` | %s {0} ü"
NOBODY = "00000000-0000-4000-8000-00000000dead"

#: Every method that names a guest.
CALLS: dict[str, Callable[[Hypervisor, str], Any]] = {
    "guest_state": lambda host, uuid: host.guest_state(uuid),
    "guest_definition": lambda host, uuid: host.guest_definition(uuid),
    "list_snapshots": lambda host, uuid: host.list_snapshots(uuid),
    "activity": lambda host, uuid: host.activity(uuid),
    "pulse": lambda host, uuid: host.pulse(uuid),
    "disk_errors": lambda host, uuid: host.disk_errors(uuid),
    "start": lambda host, uuid: host.start(uuid),
    "shutdown": lambda host, uuid: host.shutdown(uuid),
    "reboot": lambda host, uuid: host.reboot(uuid),
    "force_off": lambda host, uuid: host.force_off(uuid),
    "resume": lambda host, uuid: host.resume(uuid),
    "snapshot_create": lambda host, uuid: host.snapshot_create(uuid, "name", ""),
    "snapshot_revert": lambda host, uuid: host.snapshot_revert(uuid, "name"),
    "snapshot_delete": lambda host, uuid: host.snapshot_delete(uuid, "name"),
    "snapshots_export": lambda host, uuid: host.snapshots_export(uuid),
    "snapshots_forget": lambda host, uuid: host.snapshots_forget(uuid, ["name"]),
    "snapshots_restore": lambda host, uuid: host.snapshots_restore(uuid, []),
    "migration_progress": lambda host, uuid: host.migration_progress(uuid),
    "completed_migration": lambda host, uuid: host.completed_migration(uuid),
    "migration_abort": lambda host, uuid: host.migration_abort(uuid),
    "migration_set_downtime": lambda host, uuid: host.migration_set_downtime(uuid, 100),
    "migration_set_bandwidth": lambda host, uuid: host.migration_set_bandwidth(uuid, 10),
    "migration_start_postcopy": lambda host, uuid: host.migration_start_postcopy(uuid),
    "mark_operation": lambda host, uuid: host.mark_operation(uuid, "x"),
    "redefine": lambda host, uuid: host.redefine(uuid, domain_xml("nobody", uuid)),
    "set_autostart": lambda host, uuid: host.set_autostart(uuid, True),
    "undefine": lambda host, uuid: host.undefine(uuid),
    "agent_ping": lambda host, uuid: host.agent_ping(uuid),
    "agent_clock": lambda host, uuid: host.agent_clock(uuid),
    "agent_set_clock": lambda host, uuid: host.agent_set_clock(uuid, 1e9),
    "agent_exec": lambda host, uuid: host.agent_exec(uuid, ["/bin/true"]),
    "agent_read_file": lambda host, uuid: host.agent_read_file(uuid, "/etc/hostname"),
    "agent_write_file": lambda host, uuid: host.agent_write_file(uuid, "/tmp/x", b""),
}


def domain_xml(name: str, uuid: str, *, title: str = "", description: str = "") -> str:
    """The definition of a guest that is never started, as both drivers take it."""
    return (
        f"<domain type='qemu'><name>{escape(name)}</name><uuid>{uuid}</uuid><title>{escape(title)}</title>"
        f"<description>{escape(description)}</description><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64'>hvm</type></os></domain>"
    )


class BasicsContract(WatchingContract):
    """Everything but snapshots, migration and the agent."""

    def test_a_host_says_who_it_is(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        one, other = first.describe_host(), second.describe_host()
        assert one.host_uuid != other.host_uuid
        assert uuids.UUID(one.host_uuid)
        assert one.cpus > 0
        assert 0 <= one.memory_free_mib <= one.memory_mib
        assert one.hypervisor
        assert one.library_version > (0, 0, 0)
        assert first.uri == estate.first_uri

    def test_who_a_host_is_agrees_with_its_facts(self, first: Hypervisor) -> None:
        who, facts = first.identify_host(), first.describe_host()
        assert (who.host_uuid, who.hostname) == (facts.host_uuid, facts.hostname)
        assert who.hypervisor_version == facts.hypervisor_version > (0, 0, 0)

    def test_calls_made_together_say_what_they_say_alone(self, estate: Estate, first: Hypervisor) -> None:
        state, definition = first.together(
            lambda: (first.guest_state(estate.guest), first.guest_definition(estate.guest))
        )
        assert state == first.guest_state(estate.guest)
        assert definition == first.guest_definition(estate.guest)

    def test_what_fails_of_calls_made_together_fails_as_it_does_alone(self, estate: Estate, first: Hypervisor) -> None:
        seen = []
        with pytest.raises(GuestNotFound):
            first.together(lambda: (seen.append(first.guest_state(estate.guest)), first.guest_state(NOBODY)))
        assert [state.uuid for state in seen] == [estate.guest]
        assert first.guest_state(estate.guest) == seen[0]

    def test_a_list_says_of_a_guest_what_its_state_says(self, estate: Estate, first: Hypervisor) -> None:
        guests = {guest.uuid: guest for guest in first.list_guests()}
        assert guests[estate.guest] == first.guest_state(estate.guest)
        assert guests[estate.guest].state is PowerState.RUNNING
        assert guests[estate.guest].persistent
        assert guests[estate.guest].memory_mib > 0
        assert guests[estate.guest].vcpus > 0

    def test_a_guest_is_listed_where_it_is_and_nowhere_else(self, estate: Estate, second: Hypervisor) -> None:
        assert estate.guest not in {guest.uuid for guest in second.list_guests()}

    def test_a_definition_agrees_with_the_state(self, estate: Estate, first: Hypervisor) -> None:
        state, definition = first.guest_state(estate.guest), first.guest_definition(estate.guest)
        assert (definition.uuid, definition.name) == (state.uuid, state.name)
        assert (definition.memory_mib, definition.vcpus) == (state.memory_mib, state.vcpus)
        assert definition.persistent
        assert not definition.autostart
        assert definition.operation_id == ""
        assert estate.guest in definition.xml
        assert definition.agent_channel or Feature.AGENT not in estate.supports

    def test_the_networks_of_a_guests_nics_are_on_its_host(self, estate: Estate, first: Hypervisor) -> None:
        nics = [nic for nic in first.guest_definition(estate.guest).nics if nic.source_kind in ("network", "bridge")]
        assert {nic.source for nic in nics} <= set(first.list_networks())
        assert first.missing_networks(nics) == []

    @pytest.mark.parametrize("kind", ["network", "bridge"])
    def test_what_is_no_network_is_missing(self, estate: Estate, first: Hypervisor, kind: str) -> None:
        there = first.list_networks()
        nics = [NIC("", kind, name) for name in [*there, "nowhere", "../up", "nowhere", ""]]
        assert first.missing_networks(nics) == ["../up", "nowhere"]
        assert first.missing_networks([]) == []

    def test_a_running_guest_has_a_pulse(self, estate: Estate, first: Hypervisor) -> None:
        before = first.pulse(estate.guest)
        eventually(estate, lambda: first.pulse(estate.guest) > before)

    def test_the_cpu_times_are_those_of_the_running_guests(self, estate: Estate, first: Hypervisor) -> None:
        before = first.cpu_times_ns()
        running = {guest.uuid for guest in first.list_guests() if guest.state is PowerState.RUNNING}
        assert set(before) == running
        eventually(estate, lambda: first.cpu_times_ns()[estate.guest] > before[estate.guest])
        first.force_off(estate.guest)
        eventually(estate, lambda: estate.guest not in first.cpu_times_ns())

    def test_a_guest_at_rest(self, estate: Estate, first: Hypervisor) -> None:
        assert first.activity(estate.guest) is Activity.NONE
        assert first.disk_errors(estate.guest) == []
        assert first.list_snapshots(estate.guest) == []
        assert first.migration_progress(estate.guest).activity is Activity.NONE

    @pytest.mark.parametrize("name", CALLS)
    def test_an_unknown_guest_is_not_found(self, first: Hypervisor, name: str) -> None:
        with pytest.raises(GuestNotFound):
            CALLS[name](first, NOBODY)

    def test_an_unknown_guest_does_not_migrate(self, estate: Estate, first: Hypervisor) -> None:
        with pytest.raises(GuestNotFound):
            first.migrate(NOBODY, estate.second_uri, MigrationSpec())

    @pytest.mark.parametrize("text", ["", "no-uuid", "../../etc/passwd", "' OR 1=1 --", "x" * 5000])
    def test_what_is_no_uuid_is_no_guest(self, first: Hypervisor, text: str) -> None:
        with pytest.raises(HypervisorError):
            first.guest_state(text)

    # Power

    def test_a_guest_is_switched_off_and_on(self, estate: Estate, first: Hypervisor) -> None:
        first.force_off(estate.guest)
        off = eventually(estate, lambda: first.guest_state(estate.guest))
        assert (off.state, off.reason) == (PowerState.SHUT_OFF, StateReason.DESTROYED)
        first.start(estate.guest)
        on = first.guest_state(estate.guest)
        assert (on.state, on.reason) == (PowerState.RUNNING, StateReason.BOOTED)

    @pytest.mark.parametrize("verb", ["shutdown", "reboot", "force_off", "resume"])
    def test_what_a_guest_that_is_off_refuses(self, estate: Estate, first: Hypervisor, verb: str) -> None:
        first.force_off(estate.guest)
        with pytest.raises(GuestStateInvalid):
            CALLS[verb](first, estate.guest)
        assert first.guest_state(estate.guest).state is PowerState.SHUT_OFF

    @pytest.mark.parametrize("verb", ["start", "resume"])
    def test_what_a_running_guest_refuses(self, estate: Estate, first: Hypervisor, verb: str) -> None:
        with pytest.raises(GuestStateInvalid):
            CALLS[verb](first, estate.guest)
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    @needs(Feature.GUEST_SHUTDOWN)
    def test_a_guest_shuts_down_when_asked(self, estate: Estate, first: Hypervisor) -> None:
        first.shutdown(estate.guest)
        eventually(estate, lambda: first.guest_state(estate.guest).state is PowerState.SHUT_OFF)
        assert first.guest_state(estate.guest).reason is StateReason.SHUTDOWN

    @needs(Feature.GUEST_SHUTDOWN)
    def test_a_guest_reboots_when_asked(self, estate: Estate, first: Hypervisor) -> None:
        watcher = Recorder(first)
        first.reboot(estate.guest)
        eventually(estate, lambda: "rebooted" in watcher.kinds(estate.guest), "a REBOOTED event")
        assert first.guest_state(estate.guest).state is PowerState.RUNNING
        watcher.subscription.stop()

    # Definitions

    def test_an_operations_mark_is_written_and_removed(self, estate: Estate, first: Hypervisor) -> None:
        first.mark_operation(estate.guest, "4f1c-7")
        assert first.guest_definition(estate.guest).operation_id == "4f1c-7"
        first.mark_operation(estate.guest, HOSTILE)
        assert first.guest_definition(estate.guest).operation_id == HOSTILE
        first.mark_operation(estate.guest, "")
        assert first.guest_definition(estate.guest).operation_id == ""

    def test_a_mark_ends_with_the_run_and_leaves_the_kept_definition_alone(
        self, estate: Estate, first: Hypervisor
    ) -> None:
        kept = first.guest_definition(estate.guest).xml
        first.mark_operation(estate.guest, "of-this-run")
        assert first.guest_definition(estate.guest).xml == kept
        first.force_off(estate.guest)
        assert first.guest_definition(estate.guest).operation_id == ""
        first.start(estate.guest)
        assert first.guest_definition(estate.guest).operation_id == ""

    def test_a_mark_on_a_guest_that_is_off_stays_until_removed(self, estate: Estate, first: Hypervisor) -> None:
        first.force_off(estate.guest)
        first.mark_operation(estate.guest, "off")
        assert first.guest_definition(estate.guest).operation_id == "off"
        first.mark_operation(estate.guest, "")
        assert first.guest_definition(estate.guest).operation_id == ""
        first.start(estate.guest)

    def test_autostart_is_switched(self, estate: Estate, first: Hypervisor) -> None:
        first.set_autostart(estate.guest, True)
        assert first.guest_definition(estate.guest).autostart
        first.set_autostart(estate.guest, False)
        assert not first.guest_definition(estate.guest).autostart

    def test_a_guest_is_defined_and_undefined_with_hostile_words_shown_literally(self, first: Hypervisor) -> None:
        uuid = str(uuids.uuid4())
        name = f"contract {HOSTILE}"
        xml = domain_xml(name, uuid, title=HOSTILE, description=HOSTILE)
        assert first.define(xml) == uuid
        try:
            state, definition = first.guest_state(uuid), first.guest_definition(uuid)
            assert state.state is PowerState.SHUT_OFF
            assert state.name == definition.name == name
            assert name in {guest.name for guest in first.list_guests()}
            assert definition.title == definition.description == HOSTILE
        finally:
            first.undefine(uuid)
        assert state_or_none(first, uuid) is None

    def test_a_name_that_is_taken_is_refused(self, estate: Estate, first: Hypervisor) -> None:
        taken = first.guest_state(estate.guest).name
        uuid = str(uuids.uuid4())
        with pytest.raises(GuestExists):
            first.define(domain_xml(taken, uuid))
        assert state_or_none(first, uuid) is None

    @pytest.mark.parametrize("xml", ["", "no xml", "<domain/>", "<other/>", "<domain><name>x</domain>"])
    def test_what_is_no_definition_is_refused(self, first: Hypervisor, xml: str) -> None:
        with pytest.raises(HypervisorError):
            first.define(xml)

    def test_a_lost_definition_is_brought_back(self, estate: Estate, first: Hypervisor, second: Hypervisor) -> None:
        before = first.guest_definition(estate.guest)
        assert second.define(before.xml) == estate.guest
        try:
            after = second.guest_definition(estate.guest)
            assert second.guest_state(estate.guest).state is PowerState.SHUT_OFF
            assert (after.name, after.memory_mib, after.vcpus) == (before.name, before.memory_mib, before.vcpus)
            assert after.disks == before.disks
            assert after.nics == before.nics
        finally:
            second.undefine(estate.guest)

    def test_a_definition_is_put_right_and_back(self, estate: Estate, first: Hypervisor) -> None:
        before = first.guest_definition(estate.guest)
        root = parse(before.xml)
        for old in root.findall("title"):
            root.remove(old)
        SubElement(root, "title").text = HOSTILE
        first.redefine(estate.guest, write(root))
        try:
            changed = first.guest_definition(estate.guest)
            assert text_of(parse(changed.xml), "title") == HOSTILE
            assert changed.persistent
            assert first.guest_state(estate.guest).state is PowerState.RUNNING
        finally:
            first.redefine(estate.guest, before.xml)
        assert lines_of(first.guest_definition(estate.guest).xml) == lines_of(before.xml)

    def test_a_definition_takes_nobody_elses_place(self, estate: Estate, first: Hypervisor) -> None:
        before = first.guest_definition(estate.guest)
        other = str(uuids.uuid4())
        first.define(domain_xml("the-other", other))
        try:
            with pytest.raises(HypervisorError, match="another guest"):
                first.redefine(estate.guest, domain_xml("the-other", other))
            with pytest.raises(GuestExists):
                first.redefine(estate.guest, domain_xml("the-other", estate.guest))
            with pytest.raises(HypervisorError):
                first.redefine(estate.guest, "<domain/>")
        finally:
            first.undefine(other)
        assert lines_of(first.guest_definition(estate.guest).xml) == lines_of(before.xml)

    # The connection

    def test_a_closed_connection_answers_nothing(self, estate: Estate) -> None:
        connection = estate.open(estate.first_uri)
        assert connection.is_alive()
        connection.close()
        connection.close()
        assert not connection.is_alive()
        for call in (
            connection.describe_host,
            connection.list_guests,
            connection.list_networks,
            lambda: connection.guest_state(estate.guest),
            lambda: connection.force_off(estate.guest),
            lambda: connection.watch(lambda _event: None, lambda _reason: None),
        ):
            with pytest.raises(HostUnreachable):
                call()

    def test_closing_one_connection_leaves_the_others(self, estate: Estate, first: Hypervisor) -> None:
        estate.open(estate.first_uri).close()
        assert first.is_alive()
        assert first.guest_state(estate.guest).state is PowerState.RUNNING

    def test_several_threads_use_one_connection(self, estate: Estate, first: Hypervisor) -> None:
        expected = first.guest_state(estate.guest)
        together = threading.Barrier(8)

        def ask(number: int) -> None:
            together.wait(estate.patience_seconds)
            for _ in range(10):
                assert first.guest_state(estate.guest) == expected
                assert expected in first.list_guests()
                with pytest.raises(GuestNotFound):
                    first.guest_definition(NOBODY)
                first.mark_operation(estate.guest, f"thread-{number}")

        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(ask, number) for number in range(8)]:
                future.result(estate.patience_seconds)
        assert first.guest_definition(estate.guest).operation_id.startswith("thread-")
