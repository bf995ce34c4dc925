"""Storage pools, and tiny volumes in them by which two hosts find out whether they see the same directory."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

import libvirt

from hypervisor.document import parse, text_of, write
from hypervisor.errors import HypervisorError, NotSupported
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import translated
from hypervisor.types import MARKER_PREFIX

#: The smallest volume that every kind of pool takes, in bytes.
MARKER_BYTES = 1024**2


class Storage(LibvirtConnection):
    """The protocol's `Storage`."""

    @remote()
    def storage_pools(self) -> dict[str, str]:
        """Directory -> the active pool that is kept there."""
        try:
            with translated(self.is_alive):
                pools = self.handle.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
                found = {text_of(parse(pool.XMLDesc(0)), "target/path").rstrip("/"): pool.name() for pool in pools}
        except NotSupported:
            return {}  # a driver without storage
        return {path: name for path, name in found.items() if path}

    @remote()
    def marker_create(self, pool: str, name: str) -> None:
        """Create a tiny volume."""
        volume = Element("volume")
        SubElement(volume, "name").text = name
        SubElement(volume, "capacity").text = str(MARKER_BYTES)
        SubElement(volume, "allocation").text = "0"
        self.handle.storagePoolLookupByName(pool).createXML(write(volume))

    @remote()
    def marker_seen(self, pool: str, name: str) -> bool:
        """Look into the pool's directory anew; whether there is a volume of that name."""
        found = self.handle.storagePoolLookupByName(pool)
        found.refresh(0)
        return name in found.listVolumes()

    @remote()
    def markers_remove(self, pool: str, prefix: str) -> None:
        """Remove the volumes whose names begin so. Raises HypervisorError for a prefix that is no marker's."""
        if not prefix.startswith(MARKER_PREFIX):
            raise HypervisorError("Only markers are removed.")
        found = self.handle.storagePoolLookupByName(pool)
        for name in found.listVolumes():
            if name.startswith(prefix):
                found.storageVolLookupByName(name).delete(0)
