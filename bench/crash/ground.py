"""Where rounds are played: the lab's hosts and one guest, Slipway's processes and database, and the way back to
order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import libvirt

from bench.crash.history import ABSENT, RUNNING, Standing
from bench.crash.rounds import Round
from bench.crash.watching import open_local, standing
from lab.estate import Lab
from lab.host import Host
from lab.processes import status
from lab.shell import LabError

WORKERS = ("worker", "second")
_SNAPSHOT = "<domainsnapshot><name>{name}</name></domainsnapshot>"


@dataclass
class Ground:
    """Everything a round needs. `stack` starts and ends Slipway's processes (`tests.stack.Stack`)."""

    lab: Lab
    stack: Any
    user: Any
    guest: str
    uuid: str
    hosts: dict[str, Host]

    def standings(self) -> dict[str, Standing]:
        """What each host says of the guest now. Raises libvirtError when one does not answer."""
        return {name: standing(host, self.guest, self.uuid) for name, host in self.hosts.items()}

    def settled(self) -> dict[str, Standing]:
        """The same, once the hosts have cleared away what they are clearing away: a QEMU that ends takes a moment."""
        found = self.standings()
        until = time.monotonic() + 3
        while time.monotonic() < until and any(one.state == ABSENT and one.qemu for one in found.values()):
            time.sleep(0.1)
            found = self.standings()
        return found

    def vm(self) -> Any:
        """The VM's row."""
        from inventory.models import VM

        return VM.objects.select_related("host").get(uuid=self.uuid)

    def mend(self) -> None:
        """Undo every fault: links, daemons, workers."""
        for name, host in self.hosts.items():
            self.lab.link_up(name)
            self.lab.set_link_rate(name, None)
            pid = host.daemon_pid()
            if pid is not None and status(pid) == "T":
                self.lab.continue_daemon(name)
            if pid is None or not host.answers():
                self.lab.restart_daemon(name)
        self.stack.ensure_workers(*WORKERS)

    def prepare(self, plan: Round) -> dict[str, str]:
        """The guest as the round wants it: on its source, with its snapshots, known to Slipway. Returns the snapshots
        with their parents.
        """
        self._bring_to(plan.source)
        handle = open_local(self.hosts[plan.source])
        try:
            domain = handle.lookupByUUIDString(self.uuid)
            _remove_snapshots(domain)
            domain.setAutostart(int(plan.autostart))
            names = [f"s{index}" for index in range(plan.snapshots)]
            for name in names:
                domain.snapshotCreateXML(_SNAPSHOT.format(name=name))
        finally:
            handle.close()
        self._show()
        return dict(zip(names, ["", *names], strict=False))

    def _bring_to(self, host: str) -> None:
        if not self._is_sound():
            self.reset()
        place = next(name for name, one in self.standings().items() if one.state == RUNNING)
        if place == host:
            return
        handle = open_local(self.hosts[place])
        try:
            domain = handle.lookupByUUIDString(self.uuid)
            _remove_snapshots(domain)
            flags = (
                libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST
                | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE | libvirt.VIR_MIGRATE_UNSAFE
            )  # fmt: skip
            domain.migrateToURI3(self.hosts[host].uri, {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: 10_000}, flags)
        finally:
            handle.close()

    def _is_sound(self) -> bool:
        """Whether one host runs it, defined there, and no other has anything of it."""
        found = self.standings().values()
        runs = [one for one in found if one.state == RUNNING and one.persistent and not one.mark]
        return len(runs) == 1 and all(one.state == ABSENT and not one.qemu for one in found if one not in runs)

    def reset(self) -> None:
        """The guest as it was at first. A daemon that a hung QEMU holds up lets go of it when it is started again."""
        try:
            self.lab.reset_guest(self.guest)
        except LabError:
            for name in self.hosts:
                self.lab.restart_daemon(name)
            self.lab.reset_guest(self.guest)

    def _show(self) -> None:
        """Let Slipway read both hosts now, rather than at its next turn."""
        from inventory.models import Host as HostRow
        from inventory.syncing import host_sync

        for row in HostRow.objects.order_by("name"):
            host_sync(row, slow=True)


def _remove_snapshots(domain: libvirt.virDomain) -> None:
    for snapshot in domain.listAllSnapshots():
        snapshot.delete()


def until(ask: Callable[[], Any], *, seconds: float, every: float = 0.05) -> Any:
    """Ask until the answer is true, and return it; the last answer when time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(every)
    return answer
