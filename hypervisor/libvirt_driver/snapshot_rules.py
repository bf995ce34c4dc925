"""What a host would refuse, or do wrongly, with internal snapshots: said before anything is touched.

Rules of libvirt's QEMU driver (`qemuSnapshotPrepare`, `qemuSnapshotCreateXMLValidateDef`) by version, from its
sources and release notes.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from hypervisor.errors import NotSupported, SnapshotFailed
from hypervisor.libvirt_driver.definition import is_writable, nvram_format, read_disks, uses_flash_firmware
from hypervisor.names import snapshot_name_problem
from hypervisor.types import SnapshotInfo, SnapshotKind

Version = tuple[int, int, int]

_OFFLINE_WITH_FLASH: Version = (9, 3, 0)
_QCOW2_NVRAM: Version = (10, 9, 0)
_EXTERNAL_REVERT: Version = (9, 9, 0)
#: Internal reverts fail in these releases (fixed in 11.4.0).
_BROKEN_REVERT: tuple[Version, Version] = ((11, 2, 0), (11, 4, 0))


def refuse_creation(domain: Element, name: str, *, active: bool, library_version: Version) -> None:
    """Raise NotSupported or SnapshotFailed, with the reason, if an internal snapshot cannot be had."""
    if problem := snapshot_name_problem(name):
        raise SnapshotFailed(problem)
    writable = [disk for disk in read_disks(domain) if is_writable(disk)]
    if not writable:
        raise NotSupported("The guest has no writable disk; there is nothing that could hold a snapshot.")
    for disk in writable:
        if disk.format != "qcow2":
            raise NotSupported(
                f"Disk {disk.target} is {disk.format}; an internal snapshot needs qcow2 on every writable disk."
            )
        if disk.source_kind not in ("file", "block", "volume"):
            raise NotSupported(f"Disk {disk.target} is of type {disk.source_kind}, which holds no internal snapshot.")
    if not uses_flash_firmware(domain):
        return
    if library_version >= _QCOW2_NVRAM:
        if nvram_format(domain) != "qcow2":
            raise NotSupported("The guest's firmware variables are not kept in qcow2; a snapshot would miss them.")
    elif library_version < _OFFLINE_WITH_FLASH or active:
        raise NotSupported("This host's libvirt cannot take internal snapshots of a UEFI guest.")


def refuse_revert(snapshot: Element, info: SnapshotInfo, *, library_version: Version) -> None:
    """Raise NotSupported or SnapshotFailed, with the reason, if going back would fail (and leave the guest off)."""
    if info.kind is SnapshotKind.INTERNAL and snapshot_name_problem(info.name):
        raise NotSupported("QEMU would not find the snapshot by this name, or would find another one.")
    if snapshot.find("domain") is None:
        raise SnapshotFailed("The snapshot does not hold the guest's definition; going back to it would be a guess.")
    if info.kind is SnapshotKind.EXTERNAL and library_version < _EXTERNAL_REVERT:
        raise NotSupported("This host's libvirt cannot revert to external snapshots (9.9 and later can).")
    if info.kind is SnapshotKind.INTERNAL and _BROKEN_REVERT[0] <= library_version < _BROKEN_REVERT[1]:
        raise NotSupported("Reverting to internal snapshots is broken in libvirt 11.2 and 11.3; update the host.")
