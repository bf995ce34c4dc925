"""Snapshots of simulated guests: metadata, which a host holds, and images, which are inside the guest's disks.

As with libvirt and qcow2 the two are apart: metadata can be forgotten and put back, here or on another host, while the
image stays; a revert needs both.
"""

from __future__ import annotations

import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime

from hypervisor.errors import HypervisorError, SnapshotFailed
from hypervisor.simulated_driver.definition import parse_domain, parse_xml
from hypervisor.types import PowerState, SavedSnapshot, SnapshotInfo, SnapshotKind

#: libvirt's words for the state that a snapshot holds.
_STATE_WORDS = {PowerState.RUNNING: "running", PowerState.PAUSED: "paused", PowerState.SHUT_OFF: "shutoff"}


def get(db: sqlite3.Connection, host: str, uuid: str, name: str) -> sqlite3.Row | None:
    """A snapshot's metadata."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM snapshots WHERE host = ? AND uuid = ? AND name = ?", (host, uuid, name)
    ).fetchone()
    return row


def tree(db: sqlite3.Connection, host: str, uuid: str) -> list[sqlite3.Row]:
    """The metadata of a guest's snapshots, parents before children."""
    rows = db.execute("SELECT * FROM snapshots WHERE host = ? AND uuid = ? ORDER BY id", (host, uuid)).fetchall()
    names = {row["name"] for row in rows}
    children: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        children.setdefault(row["parent"] if row["parent"] in names else "", []).append(row)
    ordered: list[sqlite3.Row] = []
    queue = children.pop("", [])
    while queue:
        row = queue.pop(0)
        ordered.append(row)
        queue.extend(children.pop(row["name"], []))
    return ordered


def current(db: sqlite3.Connection, host: str, uuid: str) -> str:
    """The name of the snapshot that the guest's disks now build upon, "" if none."""
    row = db.execute(
        "SELECT name FROM snapshots WHERE host = ? AND uuid = ? AND is_current = 1", (host, uuid)
    ).fetchone()
    return row["name"] if row else ""


def add(tx: sqlite3.Connection, host: str, uuid: str, info: SnapshotInfo, domain: str) -> None:
    """Add metadata; a current one takes the place of the one that was."""
    tx.execute(
        "INSERT INTO snapshots (host, uuid, name, parent, is_current, created_at, state, description, disks, domain)"
        " VALUES (?,?,?,?,0,?,?,?,?,?)",
        (
            host,
            uuid,
            info.name,
            info.parent,
            info.created_at.timestamp(),
            info.state.value,
            info.description,
            ",".join(info.disks),
            domain,
        ),
    )
    if info.is_current:
        make_current(tx, host, uuid, info.name)


def make_current(tx: sqlite3.Connection, host: str, uuid: str, name: str) -> None:
    """Make that snapshot, and no other, the current one."""
    tx.execute("UPDATE snapshots SET is_current = (name = ?) WHERE host = ? AND uuid = ?", (name, host, uuid))


def drop(tx: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Remove metadata: children move up, and a current one hands that on to its parent."""
    key = (row["host"], row["uuid"])
    tx.execute("DELETE FROM snapshots WHERE id = ?", (row["id"],))
    tx.execute(
        "UPDATE snapshots SET parent = ? WHERE host = ? AND uuid = ? AND parent = ?", (row["parent"], *key, row["name"])
    )
    if row["is_current"] and row["parent"]:
        make_current(tx, *key, row["parent"])


def info_of(row: sqlite3.Row) -> SnapshotInfo:
    """A snapshot's metadata in the protocol's words."""
    return SnapshotInfo(
        name=row["name"],
        description=row["description"],
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        state=PowerState(row["state"]),
        kind=SnapshotKind.INTERNAL,
        has_memory=row["state"] != PowerState.SHUT_OFF,
        parent=row["parent"],
        is_current=bool(row["is_current"]),
        disks=tuple(row["disks"].split(",")) if row["disks"] else (),
    )


def saved(row: sqlite3.Row) -> SavedSnapshot:
    """A snapshot's metadata as it travels."""
    snapshot = ET.Element("domainsnapshot")
    for tag, text in (
        ("name", row["name"]),
        ("description", row["description"]),
        ("state", _STATE_WORDS[PowerState(row["state"])]),
        ("creationTime", repr(row["created_at"])),
    ):
        ET.SubElement(snapshot, tag).text = text
    if row["parent"]:
        ET.SubElement(ET.SubElement(snapshot, "parent"), "name").text = row["parent"]
    disks = ET.SubElement(snapshot, "disks")
    for target in filter(None, row["disks"].split(",")):
        ET.SubElement(disks, "disk", name=target, snapshot="internal")
    snapshot.append(parse_xml(row["domain"], "domain"))
    text = ET.tostring(snapshot, encoding="unicode")
    return SavedSnapshot(name=row["name"], parent=row["parent"], is_current=bool(row["is_current"]), xml=text)


def parents_first(waiting: Sequence[SavedSnapshot]) -> list[SavedSnapshot]:
    """Saved snapshots in an order in which they can be put back. Raises SnapshotFailed for a circle."""
    ordered: list[SavedSnapshot] = []
    while waiting:
        names = {snapshot.name for snapshot in waiting}
        ready = [snapshot for snapshot in waiting if snapshot.parent not in names]
        if not ready:
            raise SnapshotFailed("The saved snapshots are each other's parents.")
        ordered += ready
        waiting = [snapshot for snapshot in waiting if snapshot.parent in names]
    return ordered


def load(uuid: str, snapshot: SavedSnapshot) -> tuple[SnapshotInfo, str]:
    """Saved metadata and the guest's definition in it, read again. Raises SnapshotFailed if it is not this guest's."""
    try:
        root = parse_xml(snapshot.xml, "domainsnapshot")
        domain = root.find("domain")
        if domain is None:
            raise SnapshotFailed(f"The snapshot {snapshot.name} has no definition of its guest.")
        text = ET.tostring(domain, encoding="unicode")
        if parse_domain(text).uuid != uuid:
            raise SnapshotFailed(f"The snapshot {snapshot.name} is another guest's.")
        words = {word: state for state, word in _STATE_WORDS.items()}
        state = words[root.findtext("state") or ""]
        created_at = datetime.fromtimestamp(float(root.findtext("creationTime") or ""), UTC)
    except (HypervisorError, ValueError, KeyError) as error:
        raise SnapshotFailed(f"The saved snapshot {snapshot.name} cannot be read: {error}") from error
    info = SnapshotInfo(
        name=root.findtext("name") or "",
        description=root.findtext("description") or "",
        created_at=created_at,
        state=state,
        kind=SnapshotKind.INTERNAL,
        has_memory=state is not PowerState.SHUT_OFF,
        parent=root.findtext("parent/name") or "",
        is_current=snapshot.is_current,
        disks=tuple(disk.get("name", "") for disk in root.findall("disks/disk")),
    )
    return info, text
