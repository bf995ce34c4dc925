"""`<domainsnapshot>`, read and written."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement

from hypervisor.document import attribute_of, can_hold, text_of, whole_number, write
from hypervisor.errors import SnapshotFailed
from hypervisor.libvirt_driver.definition import is_writable, read_disks
from hypervisor.types import PowerState, SnapshotInfo, SnapshotKind

_STATES = {
    "running": PowerState.RUNNING,
    "blocked": PowerState.RUNNING,
    "paused": PowerState.PAUSED,
    "shutdown": PowerState.SHUT_OFF,
    "shutoff": PowerState.SHUT_OFF,
    "crashed": PowerState.CRASHED,
    "pmsuspended": PowerState.SUSPENDED,
    # Disks only, of a guest that ran: what is held is the state of a machine whose plug was pulled.
    "disk-snapshot": PowerState.SHUT_OFF,
}
#: 9999-12-31: later times are no times (`datetime.max`).
_LAST_SECOND = 253_402_300_799


def read_snapshot(root: Element, *, is_current: bool) -> SnapshotInfo:
    """Read a snapshot's description."""
    held = [disk for disk in root.findall("disks/disk") if disk.get("snapshot", "no") != "no"]
    memory = attribute_of(root, "memory", "snapshot", "no")
    external = memory == "external" or any(disk.get("snapshot") == "external" for disk in held)
    seconds = min(max(whole_number(root.findtext("creationTime")), 0), _LAST_SECOND)
    return SnapshotInfo(
        name=text_of(root, "name"),
        description=text_of(root, "description"),
        created_at=datetime.fromtimestamp(seconds, UTC),
        state=_STATES.get(text_of(root, "state"), PowerState.UNKNOWN),
        kind=SnapshotKind.EXTERNAL if external else SnapshotKind.INTERNAL,
        has_memory=memory != "no",
        parent=text_of(root, "parent/name"),
        is_current=is_current,
        disks=tuple(disk.get("name", "") for disk in held),
    )


def snapshot_request(domain: Element, name: str, description: str, *, with_memory: bool) -> str:
    """The XML that asks for an internal snapshot of every writable disk, and of memory when the guest is on.

    Line ends of the description become "\\n", the only kind that XML gives back. Raises SnapshotFailed for
    characters that XML cannot hold.
    """
    description = description.replace("\r\n", "\n").replace("\r", "\n")
    if not can_hold(name) or not can_hold(description):
        raise SnapshotFailed("The snapshot's name or description has characters that XML cannot hold.")
    root = Element("domainsnapshot")
    SubElement(root, "name").text = name
    SubElement(root, "description").text = description
    SubElement(root, "memory", snapshot="internal" if with_memory else "no")
    disks = SubElement(root, "disks")
    # Every disk is named: what libvirt does with the others depends on its version and on the disk.
    for disk in read_disks(domain):
        SubElement(disks, "disk", name=disk.target, snapshot="internal" if is_writable(disk) else "no")
    return write(root)
