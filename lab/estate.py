"""A whole lab: brought up, looked at, disturbed on purpose, taken down.

lab = Lab("dev", Path("var"))
lab.up()
lab.add_guest("acct-extra", "tiny", 2)
lab.kill_daemon("host1")
lab.up()        # mends what is missing
lab.down()      # leaves nothing
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab import certificates, names, network
from lab.guests import READY_SECONDS, Guests, new_guest
from lab.host import Host
from lab.images import prepare
from lab.report import describe, describe_guest
from lab.repository import Repository
from lab.shell import LabError, log
from lab.state import Guest, Places, State, Wish, load, locked, neighbours, save

#: Two labs that come up at once, perhaps from two checkouts, must not take the same subnet.
_MACHINE_LOCK = Path("/run/lock/slipway-lab.lock")

DEFAULT_GUESTS = (
    Wish("acct-ledger", "debian", 1),
    Wish("eng-build", "debian", 2),
    Wish("acct-tiny", "tiny", 1),
    Wish("eng-tiny", "tiny", 1),
    Wish("eng-writer", "writer", 2, start=False),
)
TINY_GUESTS = (Wish("acct-tiny", "tiny", 1), Wish("eng-tiny", "tiny", 1))


class Lab:
    """A lab by its name and the data directory that holds it. Building one does nothing.

    Every method raises LabError when the lab, or something on it, is not as it must be. Hosts are
    named by `host1` or by their number, guests by their name.
    """

    def __init__(self, name: str, data_dir: Path | str) -> None:
        self.places = Places(name, Path(data_dir))
        self.name = name

    # The whole

    def up(
        self, guests: Sequence[Wish] | None = None, *, hosts: int | None = None, tls: bool | None = None
    ) -> dict[str, Any]:
        """Bring the lab up, or mend what is missing of it; returns its description.

        `guests` are added to those the lab has; None means the default guests for a new lab and no
        more for an old one. `hosts` is 2 unless said otherwise, and stays what it was; so does `tls`, which is
        off: with it the hosts have certificates and are told of by their TLS addresses. Guests that should run and
        are off are started. Waits until each started guest is ready.
        """
        with self._operation(shared=False):
            state = self._state_for(guests, hosts, tls)
            for kind in sorted({guest.kind for guest in state.guests}):
                prepare(kind, self.places.images)
            with locked(_MACHINE_LOCK):
                if not self.places.state.exists():
                    taken = [other.network for other in neighbours(self.places)]
                    self._settle(state, str(network.free_subnet(self.name, taken)))
                save(self.places, state)
                network.connect_switch(state, self.places.lab)
            self._start_hosts(state)
            self._start_guests(state, state.guests)
            return describe(self.places, state)

    def down(self) -> bool:
        """End the lab's processes and remove its namespaces, links and files; whether there was one.

        Works on a half-made lab, and again after it was cut short. Images stay.
        """
        with self._operation(shared=False):
            state = load(self.places) or network.recover(self.name, self.places.lab)
            found = state is not None or self.places.lab.exists()
            if state is not None:
                Repository(self.places, state).stop()
                for host in self._hosts(state):
                    host.end()
                network.disconnect(state)
            # The state goes last, so that an end that was cut short can be taken up again.
            for entry in self.places.lab.iterdir() if self.places.lab.exists() else ():
                if entry != self.places.state:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            shutil.rmtree(self.places.lab, ignore_errors=True)
        with suppress(OSError):
            self.places.labs.rmdir()
        return found

    def status(self) -> dict[str, Any]:
        """The lab's description as `up` returns it, as far as its hosts answer."""
        return describe(self.places, self.state())

    def state(self) -> State:
        """The lab's state as written down. Raises LabError when there is no such lab."""
        state = load(self.places)
        if state is None:
            raise LabError(f"there is no lab {self.name} in {self.places.data_dir}")
        return state

    def offer(self, *versions: str) -> None:
        """Offer exactly these versions of slipway-hello to the guests."""
        with self._operation(shared=False):
            Repository(self.places, self.state()).offer(versions)

    def offered(self) -> list[str]:
        """The versions of slipway-hello on offer."""
        return Repository(self.places, self.state()).offered()

    # Guests

    def add_guest(self, name: str, kind: str, host: int = 1, *, wait: bool = True, **wish: Any) -> dict[str, Any]:
        """Add a guest and, unless `wait` is False, wait until it is ready; returns its description.

        `wish` takes the other fields of `Wish`: segment, memory_mib, start, rate, size.
        """
        wished = Wish(name, kind, host, **wish)
        with self._operation(shared=True):
            prepare(kind, self.places.images)
            with locked(self.places.lock("state")):
                state = self.state()
                if any(guest.name == name for guest in state.guests):
                    raise LabError(f"the lab has a guest {name}")
                guest = new_guest(state, wished)
                state.guests.append(guest)
                save(self.places, state)
            self._start_guests(state, [guest], wait=wait)
            return describe_guest(guest, self._guests(state))

    def console(self, name: str) -> str:
        """What a guest wrote to its serial console since it was added."""
        state = self.state()
        return self._guests(state).console_text(self._guest(state, name))

    def remove_guest(self, name: str) -> None:
        """Take a guest off every host, with its snapshots and its disk, and out of the lab."""
        with self._operation(shared=True):
            state = self.state()
            self._guests(state).remove(self._guest(state, name))
            with locked(self.places.lock("state")):
                state = self.state()
                state.guests = [guest for guest in state.guests if guest.name != name]
                save(self.places, state)

    def reset_guest(self, name: str, *, wait: bool = True) -> dict[str, Any]:
        """Make a guest as it was at first: no snapshots, a fresh disk, on its first host, started."""
        with self._operation(shared=True):
            state = self.state()
            guest = self._guest(state, name)
            self._guests(state).remove(guest)
            self._start_guests(state, [guest], wait=wait)
            return describe_guest(guest, self._guests(state))

    def wait_ready(self, name: str, *, seconds: float = READY_SECONDS) -> None:
        """Wait until a guest's agent, or its address if it has no agent, answers."""
        state = self.state()
        self._guests(state).wait_ready(self._guest(state, name), seconds=seconds)

    def console_tail(self, name: str) -> str:
        """The last lines of a guest's serial console."""
        state = self.state()
        return self._guests(state).console_tail(self._guest(state, name))

    # Faults

    def kill_daemon(self, host: str | int) -> None:
        """SIGKILL a host's libvirtd; its guests run on."""
        self.host(host).kill_daemon()

    def stop_daemon(self, host: str | int) -> None:
        """SIGSTOP a host's libvirtd: it hangs, its connections stay open."""
        self.host(host).signal_daemon(signal.SIGSTOP)

    def continue_daemon(self, host: str | int) -> None:
        """SIGCONT a host's libvirtd."""
        self.host(host).signal_daemon(signal.SIGCONT)

    def restart_daemon(self, host: str | int) -> None:
        """Kill a host's libvirtd if it runs, start it, and wait until it answers."""
        chosen = self.host(host)
        if chosen.daemon_pid() is not None:
            chosen.kill_daemon()
        chosen.start()

    def link_down(self, host: str | int) -> None:
        """Cut a host off from all networks, as if its cables were pulled."""
        network.set_link(self.state(), self.host(host).index, up=False)

    def link_up(self, host: str | int) -> None:
        """Connect a host again."""
        network.set_link(self.state(), self.host(host).index, up=True)

    def set_link_rate(self, host: str | int, mib_per_second: float | None) -> None:
        """Limit what a host sends and receives on the management network; None lifts the limit."""
        network.set_rate(self.state(), self.host(host).index, mib_per_second)

    def qemu_pid(self, host: str | int, guest: str) -> int | None:
        """The QEMU process of a guest on a host, None when there is none."""
        return self.host(host).qemu_pid(guest)

    def kill_qemu(self, host: str | int, guest: str) -> bool:
        """SIGKILL a guest's QEMU on a host; returns whether there was one."""
        return self.host(host).kill_qemu(guest)

    def host(self, host: str | int) -> Host:
        """A host by name or number."""
        for candidate in self.hosts():
            if host in (candidate.name, candidate.index):
                return candidate
        raise LabError(f"the lab {self.name} has no host {host}")

    def hosts(self) -> list[Host]:
        """All hosts of the lab."""
        return self._hosts(self.state())

    # How

    @contextmanager
    def _operation(self, *, shared: bool) -> Iterator[None]:
        """Bring-up and tear-down exclude all others; work on single guests goes side by side."""
        with locked(self.places.lock("operation"), shared=shared):
            yield

    def _state_for(self, wishes: Sequence[Wish] | None, hosts: int | None, tls: bool | None) -> State:
        state = load(self.places)
        if state is None:
            count = hosts or names.FEWEST_HOSTS
            if not names.FEWEST_HOSTS <= count <= names.MOST_HOSTS:
                raise ValueError(f"a lab has {names.FEWEST_HOSTS} to {names.MOST_HOSTS} hosts, not {count}")
            # Any subnet does until the lab settles in its own.
            state = State(self.name, str(next(names.subnet_candidates(self.name))), count, tls=bool(tls))
            wishes = DEFAULT_GUESTS if wishes is None else wishes
        elif hosts not in (None, state.hosts):
            raise LabError(f"the lab {self.name} has {state.hosts} hosts; take it down to change that")
        if tls not in (None, state.tls):
            raise LabError(f"the lab {self.name} was made {'with' if state.tls else 'without'} TLS; take it down first")
        for wish in wishes or ():
            if all(guest.name != wish.name for guest in state.guests):
                state.guests.append(new_guest(state, wish))
        return state

    def _settle(self, state: State, subnet: str) -> None:
        """Move a state that was never saved into its subnet."""
        old, state.subnet = state.network, subnet
        shift = int(state.network.network_address) - int(old.network_address)
        for guest in state.guests:
            guest.address = str(IPv4Address(guest.address) + shift)

    def _hosts(self, state: State) -> list[Host]:
        return [Host(self.places, state, index) for index in range(1, state.hosts + 1)]

    def _guests(self, state: State) -> Guests:
        return Guests(self.places, state, self._hosts(state))

    def _guest(self, state: State, name: str) -> Guest:
        for guest in state.guests:
            if guest.name == name:
                return guest
        raise LabError(f"the lab {self.name} has no guest {name}")

    def _start_hosts(self, state: State) -> None:
        self.places.store.mkdir(exist_ok=True)
        if state.tls:
            certificates.make_authority(self.places.authority)
            certificates.give(self.places.authority, certificates.CLIENT, self.places.client_pki, "slipway")
        Repository(self.places, state).start()
        for index in range(1, state.hosts + 1):
            network.connect_host(state, index)
        hosts = self._hosts(state)
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(Host.start, hosts))

    def _start_guests(self, state: State, wanted: Sequence[Guest], *, wait: bool = True) -> None:
        guests = self._guests(state)
        started = [guest for guest in wanted if guests.ensure(guest)]
        for guest in started if wait else ():
            log(f"waiting for {guest.name}")
            guests.wait_ready(guest)
