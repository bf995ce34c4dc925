"""Definitions, as far as recovery needs them, and the mark in a guest's metadata."""

from __future__ import annotations

import libvirt

from hypervisor.document import can_hold, parse, text_of, write
from hypervisor.errors import GuestExists, GuestNotFound, GuestStateInvalid, HypervisorError
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.definition import MARK_PREFIX, keep_passwords, mark_element
from hypervisor.libvirt_driver.errors import translated
from hypervisor.types import MARK_NAMESPACE

_WITH_PASSWORDS = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_KEEP_FILES = (
    libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
)


class Defining(LibvirtConnection):
    """The protocol's `Defining`."""

    @remote()
    def mark_operation(self, uuid: str, operation_id: str) -> None:
        """Write Slipway's operation id into the guest's metadata; "" removes it. It migrates along, and ends with the
        guest's run: the kept definition is touched only when the guest is off.

        Waits for a running migration to end, so it is written before one starts.
        """
        if not can_hold(operation_id):
            raise HypervisorError("The operation id has characters that XML cannot hold.")
        domain = self.domain(uuid)
        element = mark_element(operation_id) if operation_id else None
        try:
            with translated(self.is_alive):
                self._set_mark(domain, element, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except GuestStateInvalid:  # it is off
            self._set_mark(domain, element, libvirt.VIR_DOMAIN_AFFECT_CONFIG)

    @remote()
    def set_autostart(self, uuid: str, enabled: bool) -> None:
        """Set whether the host starts the guest with itself. Raises GuestStateInvalid for a transient guest."""
        self.domain(uuid).setAutostart(int(enabled))

    @remote()
    def define(self, xml: str) -> str:
        """Define a guest without starting it; returns its UUID.

        Raises GuestExists when its name or its UUID is taken: libvirt itself would overwrite a definition of the
        same UUID without a word. The XML is one that libvirt wrote; it is not checked against the host's schema,
        which may be older than the host that wrote it.
        """
        root = parse(xml)
        for lookup, key in (
            (self.handle.lookupByUUIDString, text_of(root, "uuid")),
            (self.handle.lookupByName, text_of(root, "name")),
        ):
            if key and self._exists(lookup, key):
                raise GuestExists("This host has a guest of that name or UUID already.")
        return str(self.handle.defineXML(xml).UUIDString())

    @remote()
    def redefine(self, uuid: str, xml: str) -> None:
        """Define a guest that is known here anew; its console passwords are kept.

        Raises GuestNotFound, GuestStateInvalid for a transient guest, GuestExists when its new name is another
        guest's, HypervisorError for another guest's definition.
        """
        domain, root = self.domain(uuid), parse(xml)
        if text_of(root, "uuid") != domain.UUIDString():
            raise HypervisorError("The definition is another guest's.")
        if not domain.isPersistent():
            raise GuestStateInvalid("A transient guest has no definition to put right.")
        name = text_of(root, "name")
        if name != domain.name() and self._exists(self.handle.lookupByName, name):
            raise GuestExists("This host has a guest of that name already.")
        keep_passwords(parse(domain.XMLDesc(_WITH_PASSWORDS)), root)
        self.handle.defineXML(write(root))

    @remote()
    def undefine(self, uuid: str) -> None:
        """Remove the definition and snapshot metadata; disks, firmware variables and TPM state stay.

        A running guest runs on as a transient one. Raises GuestStateInvalid while there is a managed save image,
        which would be lost.
        """
        self.domain(uuid).undefineFlags(_KEEP_FILES)

    def _set_mark(self, domain: libvirt.virDomain, element: str | None, flags: int) -> None:
        domain.setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT,
            element,
            MARK_PREFIX if element is not None else None,
            MARK_NAMESPACE,
            flags,
        )

    def _exists(self, lookup: libvirt.virDomain, key: str) -> bool:
        try:
            with translated(self.is_alive):
                lookup(key)
        except GuestNotFound:
            return False
        return True
