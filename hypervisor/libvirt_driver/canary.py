"""A tiny guest that proves the path between two hosts by travelling it."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

import libvirt

from hypervisor.document import parse, text_of, write
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.types import CANARY_MIB, canary_name

#: How it is run: software emulation starts wherever QEMU does; some builds have none.
_KINDS = ("qemu", "kvm")


class Canaries(LibvirtConnection):
    """The protocol's `canary_start`."""

    @remote()
    def canary_start(self, uuid: str) -> None:
        """Start a guest without disks and network cards, which stays paused and is gone when it is switched off."""
        self.handle.createXML(canary_xml(uuid, parse(self.handle.getCapabilities())), libvirt.VIR_DOMAIN_START_PAUSED)


def canary_xml(uuid: str, capabilities: Element) -> str:
    """The canary's definition for a host with these capabilities."""
    arch = text_of(capabilities, "host/cpu/arch")
    offered = {
        kind.get("type", "")
        for guest in capabilities.findall("guest/arch")
        for kind in guest.findall("domain")
        if guest.get("name") == arch
    }
    domain = Element("domain", type=next((kind for kind in _KINDS if kind in offered), _KINDS[0]))
    SubElement(domain, "name").text = canary_name(uuid)
    SubElement(domain, "uuid").text = uuid
    SubElement(domain, "title").text = "Slipway: proves the path between two hosts, gone in a moment"
    SubElement(domain, "memory", unit="MiB").text = str(CANARY_MIB)
    SubElement(domain, "vcpu").text = "1"
    SubElement(SubElement(domain, "os"), "type", arch=arch).text = "hvm"
    devices = SubElement(domain, "devices")
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "memballoon", model="none")
    return write(domain)
