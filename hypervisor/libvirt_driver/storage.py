"""Storage pools, and tiny volumes in them by which two hosts find out whether they see the same directory."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

import libvirt

from hypervisor.document import parse, text_of, write
from hypervisor.errors import GuestNotFound, HypervisorError, NotSupported
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import translated
from hypervisor.types import MARKER_PREFIX

#: Where `virStoragePoolInfo` has what is left.
_POOL_AVAILABLE = 3
#: A large raw image on slow storage takes its time.
CREATE_SECONDS = 120.0


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
    def pool_free(self, pool: str) -> int:
        """Bytes that a pool has left."""
        return int(self.handle.storagePoolLookupByName(pool).info()[_POOL_AVAILABLE])

    @remote(seconds=CREATE_SECONDS)
    def volume_create(self, pool: str, name: str, *, capacity_bytes: int, image_format: str = "raw") -> None:
        """Create a volume that takes no room yet. Raises HypervisorError when there is one of that name."""
        volume = Element("volume")
        SubElement(volume, "name").text = name
        SubElement(volume, "capacity").text = str(capacity_bytes)
        SubElement(volume, "allocation").text = "0"
        SubElement(SubElement(volume, "target"), "format", type=image_format)
        self.handle.storagePoolLookupByName(pool).createXML(write(volume))

    @remote(seconds=CREATE_SECONDS)
    def volume_remove(self, pool: str, name: str) -> None:
        """Remove a volume with its data; one that is gone is passed over."""
        found = self.handle.storagePoolLookupByName(pool)
        found.refresh(0)
        if name in found.listVolumes():
            found.storageVolLookupByName(name).delete(0)

    @remote()
    def disk_capacity(self, uuid: str, target: str) -> int:
        """The size of a guest's disk as the guest sees it, in bytes."""
        return int(self.domain(uuid).blockInfo(target)[0])

    @remote()
    def files_in_use(self) -> set[str]:
        """Every file that a guest of this host names as a disk or below one, whether it runs or not."""
        found: set[str] = set()
        for domain in self.handle.listAllDomains(0):
            try:
                with translated(self.is_alive):
                    root = parse(domain.XMLDesc(0))
            except GuestNotFound:
                continue  # gone meanwhile
            found |= {source.get("file", "") for source in root.iterfind("devices/disk//source")}
        return found - {""}

    @remote()
    def volume_seen(self, pool: str, name: str) -> bool:
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
