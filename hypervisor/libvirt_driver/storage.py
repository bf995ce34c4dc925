"""Storage pools, and tiny volumes in them by which two hosts find out whether they see the same directory."""

from __future__ import annotations

from contextlib import suppress
from posixpath import dirname, join, normpath
from types import MappingProxyType
from xml.etree.ElementTree import Element, SubElement

import libvirt

from hypervisor.document import parse, text_of, write
from hypervisor.errors import GuestNotFound, HypervisorError, NotSupported
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import ErrorTable, translated
from hypervisor.types import MARKER_PREFIX

#: Where `virStoragePoolInfo` has what is left.
_POOL_AVAILABLE = 3
#: A large raw image on slow storage takes its time.
CREATE_SECONDS = 120.0


class _NoVolume(HypervisorError):
    """The host has no such volume."""


_NO_VOLUME: ErrorTable = MappingProxyType(
    {libvirt.VIR_ERR_NO_STORAGE_POOL: _NoVolume, libvirt.VIR_ERR_NO_STORAGE_VOL: _NoVolume}
)


def paths_in(root: Element) -> set[str]:
    """All absolute paths that a domain's or snapshot's XML names, whatever for: disks, what is below them, mirrors,
    firmware, kernels.
    """
    words = (word for element in root.iter() for word in (*element.attrib.values(), (element.text or "").strip()))
    return {word for word in words if word.startswith("/")}


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

    @remote(seconds=CREATE_SECONDS)
    def files_in_use(self) -> set[str]:
        """Every file that a guest of this host names, as it runs, for its next start or in a snapshot, and whatever an
        image in a pool is based on: of a guest that is off, libvirt tells the topmost images only.
        """
        found: set[str] = set()
        for domain in self.handle.listAllDomains(0):
            try:
                with translated(self.is_alive):
                    found |= self._named_by(domain)
            except GuestNotFound:
                continue  # gone meanwhile
        return found | self._backing_files()

    def _named_by(self, domain: libvirt.virDomain) -> set[str]:
        roots = [parse(domain.XMLDesc(flags)) for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE)]
        with suppress(NotSupported), translated(self.is_alive):
            roots += [parse(snapshot.getXMLDesc(0)) for snapshot in domain.listAllSnapshots(0)]
        found = set().union(*(paths_in(root) for root in roots))
        for source in (source for root in roots for source in root.iter("source") if source.get("pool")):
            with suppress(_NoVolume), translated(self.is_alive, table=_NO_VOLUME):
                pool = self.handle.storagePoolLookupByName(source.get("pool", ""))
                found.add(pool.storageVolLookupByName(source.get("volume", "")).path())
        return found

    def _backing_files(self) -> set[str]:
        found: set[str] = set()
        for name in self.storage_pools().values():
            pool = self.handle.storagePoolLookupByName(name)
            pool.refresh(0)
            for volume in pool.listAllVolumes():
                root = parse(volume.XMLDesc(0))
                backing = text_of(root, "backingStore/path")
                if backing:
                    found.add(normpath(join(dirname(volume.path()), backing)))
        return found

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
