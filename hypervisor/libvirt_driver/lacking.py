"""What a host lacks of what a guest needs, asked of its libvirt; and what is remembered of it for a minute."""

from __future__ import annotations

import time
from posixpath import dirname

import libvirt

from hypervisor.document import parse, text_of
from hypervisor.errors import HostUnreachable, HypervisorError, MigrationRefused, NotSupported
from hypervisor.libvirt_driver.connection import remote
from hypervisor.libvirt_driver.errors import translated
from hypervisor.libvirt_driver.needs import read_needs
from hypervisor.libvirt_driver.observing import Observing
from hypervisor.libvirt_driver.storage import Storage
from hypervisor.types import GuestNeeds, HostLacks

#: How long machine types, firmware and pools are believed: they change with a package or an administrator.
REMEMBERED_SECONDS = 60.0

#: Only with these the question is about the host's CPU; QEMU emulates the others in software.
_HARDWARE = frozenset({"kvm", "hvf"})
_COMPARED = frozenset({"custom", "host-model"})


class _NotThere(HypervisorError):
    """The host has nothing of that name."""


class Lacking(Observing, Storage):
    """The protocol's `guest_needs` and `missing_for`."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._firmware: dict[tuple[str, str, str, str], tuple[float, frozenset[str]]] = {}
        self._pools: tuple[float, dict[str, str]] = (0.0, {})

    @remote()
    def guest_needs(self, uuid: str) -> GuestNeeds:
        """What the guest would need of another host, by the definition that libvirt would send there."""
        return read_needs(parse(self.domain(uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)), self._lists_firmware)

    @remote()
    def missing_for(self, needs: GuestNeeds) -> HostLacks:
        """What is not here. One round trip for each machine type and a minute, for each CPU, filter and file."""
        machine, firmware = "", ""
        try:
            listed = self._firmware_of(needs)
        except HostUnreachable:
            raise
        except HypervisorError as error:
            machine = str(error)
        else:
            firmware = needs.firmware if needs.firmware_listed and needs.firmware not in listed else ""
        files, unproved = self._missing_files(needs)
        return HostLacks(
            networks=tuple(self.missing_networks(needs.nics)),
            filters=tuple(name for name in needs.filters if not self._has_filter(name)),
            machine=machine,
            cpu="" if machine else self._incompatible(needs),
            firmware=firmware,
            files=files,
            unproved=unproved,
        )

    def _lists_firmware(self, needs: GuestNeeds) -> bool:
        try:
            return needs.firmware in self._firmware_of(needs)
        except HostUnreachable:
            raise
        except HypervisorError:
            return False  # its QEMU was upgraded under the running guest, say

    def _firmware_of(self, needs: GuestNeeds) -> frozenset[str]:
        """The firmware images that go with a machine type. Raises HypervisorError, with libvirt's reason, when there is
        no such machine type or emulator here.
        """
        key = (needs.emulator, needs.arch, needs.machine, needs.virt_type)
        known, now = self._firmware.get(key), time.monotonic()
        if known is not None and now - known[0] < REMEMBERED_SECONDS:
            return known[1]
        try:
            with translated(self.is_alive):
                found = parse(self.handle.getDomainCapabilities(*key))
        except NotSupported:
            return frozenset({needs.firmware})  # a driver that cannot tell
        images = frozenset(text_of(value, ".") for value in found.findall("os/loader/value"))
        self._firmware[key] = now, images
        return images

    def _incompatible(self, needs: GuestNeeds) -> str:
        """Why this host's CPU cannot run the guest; "" when it can, or is not asked for anything."""
        if needs.virt_type not in _HARDWARE or needs.cpu_mode not in _COMPARED:
            return ""
        flags = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
        key = (needs.emulator, needs.arch, needs.machine, needs.virt_type)
        try:
            with translated(self.is_alive, table={libvirt.VIR_ERR_CPU_INCOMPATIBLE: MigrationRefused}):
                self.handle.compareHypervisorCPU(*key, needs.cpu_xml, flags)
        except NotSupported:
            return ""
        except MigrationRefused as error:
            return str(error)
        return ""

    def _has_filter(self, name: str) -> bool:
        try:
            with translated(self.is_alive, table={libvirt.VIR_ERR_NO_NWFILTER: _NotThere}):
                self.handle.nwfilterLookupByName(name)
        except (_NotThere, NotSupported):
            return False
        return True

    def _missing_files(self, needs: GuestNeeds) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of the files: those that their pool has not, and those that are in no pool."""
        missing, unproved = [], []
        pools = self._pools_at({dirname(path) for path in needs.files})
        for path in needs.files:
            pool = pools.get(dirname(path))
            if pool is None:
                unproved.append(path)
            elif not self._has_file(pool, path):
                missing.append(path)
        return tuple(missing), tuple(unproved)

    def _has_file(self, pool: str, path: str) -> bool:
        """Whether a pool has a file: as it knows, else after a look at the directory. A pool goes on listing one that
        was removed behind its back; its size cannot be told any more.
        """
        for refresh in (False, True):
            try:
                with translated(self.is_alive, otherwise=_NotThere):
                    if refresh:
                        self.handle.storagePoolLookupByName(pool).refresh(0)
                    self.handle.storageVolLookupByPath(path).info()
                    return True
            except _NotThere:
                continue
        return False

    def _pools_at(self, directories: set[str]) -> dict[str, str]:
        """Directory -> the active pool that is kept there; looked for anew when one of these has none that is known."""
        now = time.monotonic()
        at, known = self._pools
        if directories - known.keys() or (directories and now - at > REMEMBERED_SECONDS):
            known = self.storage_pools()
            self._pools = now, known
        return known
