"""Guests on the hosts of a lab: define, start, find, wait for, remove."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lab import domain, names, network, processes
from lab.host import Host, supports_direct_io
from lab.images import prepare
from lab.shell import LabError, log, run, succeeds, wait_until
from lab.state import DEFAULT_MEMORY_MIB, Guest, Places, State, Wish, check_wish
from lab.virsh import agent, virsh

#: Emulated guests on a busy machine: a boot of 15 s may take minutes when tests run beside it.
READY_SECONDS = 300
_TINY_DISK = "64M"
_UNDEFINE = ("--managed-save", "--snapshots-metadata", "--checkpoints-metadata")


class Guests:
    """What can be done to the guests of one lab, whichever host they are on."""

    def __init__(self, places: Places, state: State, hosts: Sequence[Host]) -> None:
        self._places = places
        self._state = state
        self._hosts = hosts

    def find(self, guest: Guest) -> list[Host]:
        """The hosts that know the guest, those where it runs first."""
        known = []
        for host in self._hosts:
            if guest.uuid in virsh(host.uri, "list", "--all", "--uuid").split():
                running = guest.uuid in virsh(host.uri, "list", "--uuid").split()
                known.append((not running, host.index, host))
        return [host for _, _, host in sorted(known, key=lambda entry: entry[:2])]

    def power_state(self, guest: Guest, host: Host) -> str:
        """libvirt's word for the guest's state on a host: `running`, `shut off`, `paused` ..."""
        return virsh(host.uri, "domstate", guest.uuid)

    def ensure(self, guest: Guest) -> bool:
        """Define the guest if no host knows it, start it if it should run and is off.

        Returns whether it was started, so that the caller may wait for several at once.
        """
        known = self.find(guest)
        if not known:
            host = self._hosts[guest.host - 1]
            self._create_disk(guest)
            self._define(guest, host)
        else:
            host = known[0]
        if guest.start and self.power_state(guest, host) == "shut off":
            virsh(host.uri, "start", guest.uuid, timeout=120)
            return True
        return False

    def wait_ready(self, guest: Guest, *, seconds: float = READY_SECONDS) -> None:
        """Wait until the guest's agent answers, or its address when its kind has no agent.

        Raises LabError after `seconds`, with the end of the guest's console.
        """
        begun = time.monotonic()
        wait_until(
            lambda: self.is_ready(guest),
            seconds=seconds,
            what=f"{guest.name} ready",
            every=0.3,
            detail=lambda: self.console_tail(guest),
        )
        log(f"{guest.name} is ready after {time.monotonic() - begun:.1f} s")

    def is_ready(self, guest: Guest) -> bool:
        """Whether the agent (kind `debian`) or the address (other kinds) answers now."""
        if guest.kind != "debian":
            return succeeds("ping", "-c1", "-W0.5", "-q", guest.address, timeout=10)
        for host in self._hosts:
            try:
                agent(host.uri, guest.uuid, "guest-ping", timeout=5)
            except LabError:
                continue
            return True
        return False

    def console_text(self, guest: Guest) -> str:
        """All that the guest wrote to its serial console, with what is no text replaced."""
        return self._console(guest).read_text(errors="replace")

    def console_tail(self, guest: Guest) -> str:
        """The last lines that the guest wrote to its serial console."""
        try:
            text = self.console_text(guest)
        except FileNotFoundError:
            return f"{guest.name} wrote nothing to its console"
        return f"the console of {guest.name} ends:\n{text[-2000:]}"

    def remove(self, guest: Guest) -> None:
        """Destroy and undefine the guest on every host, with snapshots, disk and console log."""
        for host in self.find(guest):
            self._end(guest, host)
            # A transient domain is gone by now.
            if guest.uuid in virsh(host.uri, "list", "--all", "--uuid").split():
                virsh(host.uri, "undefine", guest.uuid, *_UNDEFINE)
        for host in self._hosts:
            self._end_stray(guest, host)
        self._disk(guest).unlink(missing_ok=True)
        self._console(guest).unlink(missing_ok=True)

    def _end(self, guest: Guest, host: Host) -> None:
        """Destroy the guest on a host, unless it is off. Raises LabError."""
        if self.power_state(guest, host) == "shut off":
            return
        try:
            virsh(host.uri, "destroy", guest.uuid, timeout=120)
        except LabError:
            # What ends by itself at that moment is no longer there to be destroyed.
            if guest.uuid in virsh(host.uri, "list", "--uuid").split():
                raise

    def _end_stray(self, guest: Guest, host: Host) -> None:
        """Kill a QEMU of the guest that the host's daemon has forgotten."""
        processes.end(
            lambda: [pid for pid in [host.qemu_pid(guest.name)] if pid is not None],
            lambda pid: processes.in_namespace(pid, host.netns),
            f"{guest.name} on {host.name}",
        )

    def _disk(self, guest: Guest) -> Path:
        return self._places.store / f"{guest.name}.qcow2"

    def _console(self, guest: Guest) -> Path:
        return self._places.consoles / f"{guest.name}.log"

    def _create_disk(self, guest: Guest) -> None:
        base = prepare(guest.kind, self._places.images).base
        what = ["-b", str(base), "-F", "qcow2"] if base else []
        size = [] if base else [_TINY_DISK]
        run("qemu-img", "create", "-q", "-f", "qcow2", *what, self._disk(guest), *size)

    def _define(self, guest: Guest, host: Host) -> None:
        self._places.consoles.mkdir(exist_ok=True)
        xml = domain.domain_xml(
            guest,
            prepare(guest.kind, self._places.images),
            self._state.network,
            disk=self._disk(guest),
            console=self._console(guest),
            cache="none" if supports_direct_io(self._places.store) else "writethrough",
            bridge=network.bridge(guest.segment),
        )
        definition = self._places.lab / f"{guest.name}.xml"
        definition.write_text(xml)
        try:
            virsh(host.uri, "define", str(definition))
        finally:
            definition.unlink(missing_ok=True)


def new_guest(state: State, wish: Wish) -> Guest:
    """The wished guest, fitted into the lab: own address, a UUID that is the same each time.

    Raises ValueError for a wish that cannot be, LabError when the segment has no address left.
    """
    check_wish(wish)
    if not 1 <= wish.host <= state.hosts:
        raise ValueError(f"{wish.name}: the lab has hosts 1 to {state.hosts}, not {wish.host}")
    segment = wish.segment or names.segment_of(wish.name)
    taken = {guest.address for guest in state.guests}
    every = (str(address) for address in names.guest_addresses(state.network, segment))
    address = next((free for free in every if free not in taken), None)
    if address is None:
        raise LabError(f"no address is left in the segment {segment}")
    writes = (wish.rate, wish.size) if wish.kind == "writer" else (0, 0)
    return Guest(
        name=wish.name,
        uuid=names.lab_uuid(state.name, f"guest/{wish.name}"),
        kind=wish.kind,
        segment=segment,
        host=wish.host,
        address=address,
        memory_mib=wish.memory_mib or DEFAULT_MEMORY_MIB[wish.kind],
        start=wish.start,
        rate=writes[0],
        size=writes[1],
    )
