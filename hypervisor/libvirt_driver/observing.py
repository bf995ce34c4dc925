"""Reading a host and its guests. Nothing in here changes anything."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

import libvirt

from hypervisor.errors import GuestBusy, GuestNotFound, GuestStateInvalid
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.definition import ManagementFacts, read_definition
from hypervisor.libvirt_driver.errors import translated
from hypervisor.libvirt_driver.host import is_bridge, networks, read_host, read_identity
from hypervisor.libvirt_driver.jobinfo import running_job
from hypervisor.libvirt_driver.states import power_state, state_reason
from hypervisor.types import (
    NIC,
    Activity,
    GuestDefinition,
    GuestState,
    HostFacts,
    HostIdentity,
    PowerState,
    StateReason,
)

#: How long a guest's size is believed: it changes only when somebody redefines or hot-plugs it.
SIZE_SECONDS = 60.0
#: How long a host's identity is believed: it changes with an upgrade, after which new guests start with another QEMU.
IDENTITY_SECONDS = 60.0

#: A question to QEMU is answered in milliseconds; one that takes so long finds it hung, in milliseconds.
_HANGS_AFTER_MS = 2000
#: What tells that a virtual processor ran.
_RAN = re.compile(r"vcpu\.\d+\.(time|delay)")
_STANDING_STILL = (StateReason.SAVE, StateReason.SNAPSHOT)


@dataclass(frozen=True, slots=True)
class _Size:
    memory_mib: int
    vcpus: int
    run: int  # the domain's id: a new one at each start
    read_at: float


class Observing(LibvirtConnection):
    """The protocol's `Observing`, but for `watch` (see `watching`)."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._sizes: dict[str, _Size] = {}
        self._sizes_lock = threading.Lock()
        self._identity: tuple[HostIdentity, float] | None = None

    @remote()
    def identify_host(self) -> HostIdentity:
        """Who the host is, asked for once a minute."""
        now = time.monotonic()
        if self._identity is None or now - self._identity[1] > IDENTITY_SECONDS:
            self._identity = read_identity(self.handle, self.library_version()), now
        return self._identity[0]

    @remote()
    def describe_host(self) -> HostFacts:
        """The host's identity, size and versions."""
        return read_host(self.handle, self.identify_host())

    @remote()
    def list_networks(self) -> list[str]:
        """Names of the active libvirt networks and of the host's bridges."""
        return networks(self.handle, self.is_alive)

    @remote()
    def missing_networks(self, nics: Collection[NIC]) -> list[str]:
        """Names of what these NICs join that are no active network and no bridge here.

        Three round trips for each bridge; all are listed, which takes as long as the rest of a precheck, only when
        something is missed.
        """
        missing = {nic.source for nic in nics if nic.source}
        bridges = {nic.source for nic in nics if nic.source_kind == "bridge"}
        missing -= {name for name in bridges if is_bridge(self.handle, name, self.is_alive)}
        if missing:
            missing -= set(self.handle.listNetworks())
        if missing:
            missing -= set(networks(self.handle, self.is_alive))
        return sorted(missing)

    @remote()
    def list_guests(self) -> list[GuestState]:
        """All guests: one bulk call for the states, one for who is transient, and sizes once a minute.

        Only the STATE group is asked of running guests: the others go through each guest's QEMU monitor, so that
        one hung QEMU would hold up the whole list. Sizes come from `virDomainGetInfo`, which does not.
        """
        # The first word on who is there is one call's: two filtered ones would lose a guest that starts in between.
        sweep = self.handle.getAllDomainStats(
            libvirt.VIR_DOMAIN_STATS_STATE, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        )
        transient = {
            domain.UUIDString() for domain in self.handle.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
        }
        sizes = self._sizes_of([domain for domain, _ in sweep])
        guests = []
        for domain, facts in sweep:
            uuid = domain.UUIDString()
            size = sizes.get(uuid)
            if size is None:
                continue  # gone since the sweep
            state = facts.get("state.state", libvirt.VIR_DOMAIN_NOSTATE)
            guests.append(
                GuestState(
                    uuid=uuid,
                    name=domain.name(),
                    state=power_state(state),
                    reason=state_reason(state, facts.get("state.reason", 0)),
                    memory_mib=size.memory_mib,
                    vcpus=size.vcpus,
                    persistent=uuid not in transient,
                )
            )
        return guests

    @remote()
    def guest_state(self, uuid: str) -> GuestState:
        """One guest's state. Raises GuestNotFound."""
        domain = self.domain(uuid)
        state, reason = domain.state()
        info = domain.info()
        return GuestState(
            uuid=domain.UUIDString(),
            name=domain.name(),
            state=power_state(state),
            reason=state_reason(state, reason),
            memory_mib=info[1] // 1024,
            vcpus=info[3],
            persistent=bool(domain.isPersistent()),
        )

    @remote()
    def guest_definition(self, uuid: str) -> GuestDefinition:
        """One guest's definition; its `xml` is the persistent configuration, without passwords."""
        domain = self.domain(uuid)
        live = domain.XMLDesc(0)
        persistent = bool(domain.isPersistent())
        kept = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if persistent and domain.ID() >= 0 else live
        facts = ManagementFacts(
            persistent=persistent,
            autostart=bool(domain.autostart()) if persistent else False,
            has_managed_save=bool(domain.hasManagedSaveImage()) if persistent else False,
        )
        return read_definition(live, kept, facts)

    @remote()
    def activity(self, uuid: str) -> Activity:
        """The job the host runs on this guest now. Raises GuestNotFound, GuestBusy when it cannot be told yet.

        While an internal snapshot or a save is written, libvirt would let the question wait for its end; the
        control info answers at once that something is under way; likewise for a QEMU that hangs (seen of each half of
        a post-copy whose other half had gone).
        """
        domain = self.domain(uuid)
        if domain.ID() < 0:
            return Activity.NONE  # libvirt refuses the question for a guest without a QEMU
        try:
            with translated(self.is_alive):
                control, _detail, held_ms = domain.controlInfo()
        except GuestStateInvalid:
            return Activity.NONE  # it has stopped meanwhile
        if control == libvirt.VIR_DOMAIN_CONTROL_OCCUPIED and held_ms >= _HANGS_AFTER_MS:
            raise GuestBusy("This guest's QEMU does not answer its host.")
        if control == libvirt.VIR_DOMAIN_CONTROL_JOB and state_reason(*domain.state()) in _STANDING_STILL:
            raise GuestBusy("The host is saving this guest's memory.")
        return running_job(self, domain)[0]

    @remote()
    def pulse(self, uuid: str) -> int:
        """How long the guest's virtual processors have run, and waited for a processor of the host to do so.

        The time that they ran is kept in steps of 10 ms, of which an idle guest uses one in some seconds. The time
        that they waited (`vcpu.N.delay`, libvirt 6.10 and later, where the kernel keeps it) grows by nanoseconds
        each time one is woken.
        """
        domain = self.domain(uuid)
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        found = self.handle.domainListGetStats([domain], libvirt.VIR_DOMAIN_STATS_VCPU, flags)
        counts = [count for name, count in (found[0][1] if found else {}).items() if _RAN.fullmatch(name)]
        return sum(counts) if counts else int(domain.info()[4])

    @remote()
    def cpu_times_ns(self) -> dict[str, int]:
        """CPU time that each running guest has used, in nanoseconds.

        One `virDomainGetInfo` for each, some 0.1 ms: it reads the process's own account. The bulk call's CPU group
        asks each QEMU's monitor and took eight times as long, and would wait for one that hangs.
        """
        times = {}
        for domain in self.handle.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING):
            try:
                with translated(self.is_alive):
                    state, _memory, _now, _vcpus, used = domain.info()
            except GuestNotFound:
                continue  # gone since the list
            if power_state(state) is PowerState.RUNNING:
                times[domain.UUIDString()] = used
        return times

    @remote()
    def disk_errors(self, uuid: str) -> list[str]:
        """Targets of disks in an error state; empty when all is well, or the guest is off."""
        domain = self.domain(uuid)
        try:
            with translated(self.is_alive):
                return sorted(domain.diskErrors())
        except GuestStateInvalid:
            return []

    def _sizes_of(self, domains: list[libvirt.virDomain]) -> dict[str, _Size]:
        """Sizes of these guests by UUID, without those that vanished; forgets all others."""
        now = time.monotonic()
        with self._sizes_lock:
            known = dict(self._sizes)
        wanted = []
        sizes: dict[str, _Size] = {}
        for domain in domains:
            uuid, size = domain.UUIDString(), known.get(domain.UUIDString())
            if size is not None and size.run == domain.ID() and now - size.read_at < SIZE_SECONDS:
                sizes[uuid] = size
            else:
                wanted.append(domain)
        sizes |= self._read_sizes(wanted, now)
        with self._sizes_lock:
            self._sizes = sizes
        return sizes

    def _read_sizes(self, domains: list[libvirt.virDomain], now: float) -> dict[str, _Size]:
        off = [domain for domain in domains if domain.ID() < 0]
        bulk = self._sizes_of_off(now) if len(off) > 1 else {}
        sizes = {}
        for domain in domains:
            uuid = domain.UUIDString()
            if uuid in bulk and domain.ID() < 0:
                sizes[uuid] = bulk[uuid]
                continue
            try:
                with translated(self.is_alive):
                    info = domain.info()
            except GuestNotFound:
                continue
            sizes[uuid] = _Size(info[1] // 1024, info[3], domain.ID(), now)
        return sizes

    def _sizes_of_off(self, now: float) -> dict[str, _Size]:
        """Sizes of all guests that are off, in one call: of them these groups are in the definition, without QEMU."""
        groups = libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_VCPU
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        return {
            domain.UUIDString(): _Size(facts["balloon.maximum"] // 1024, facts["vcpu.current"], domain.ID(), now)
            for domain, facts in self.handle.getAllDomainStats(groups, flags)
            if "balloon.maximum" in facts and "vcpu.current" in facts
        }
