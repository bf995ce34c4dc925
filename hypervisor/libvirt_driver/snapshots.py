"""Internal snapshots, and the dance that carries their metadata past a migration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

import libvirt

from hypervisor.document import parse
from hypervisor.errors import (
    GuestStateInvalid,
    SnapshotExists,
    SnapshotFailed,
    SnapshotNotFound,
)
from hypervisor.libvirt_driver.calls import check_wanted
from hypervisor.libvirt_driver.connection import LibvirtConnection, remote
from hypervisor.libvirt_driver.errors import ErrorTable, translated
from hypervisor.libvirt_driver.snapshot_rules import refuse_creation, refuse_revert
from hypervisor.libvirt_driver.snapshot_xml import read_snapshot, snapshot_request
from hypervisor.libvirt_driver.states import power_state
from hypervisor.types import PowerState, SavedSnapshot, SnapshotInfo

_FAILED: ErrorTable = MappingProxyType({libvirt.VIR_ERR_SNAPSHOT_REVERT_RISKY: SnapshotFailed})


class Snapshotting(LibvirtConnection):
    """The protocol's `Snapshotting`, and `Observing.list_snapshots`."""

    @remote()
    def list_snapshots(self, uuid: str) -> list[SnapshotInfo]:
        """A guest's snapshots, parents before children. Raises GuestNotFound."""
        domain = self.domain(uuid)
        snapshots = _parents_first(domain)
        current = self._current(domain) if snapshots else ""
        return [
            read_snapshot(parse(snapshot.getXMLDesc()), is_current=snapshot.getName() == current)
            for snapshot in snapshots
        ]

    @remote(seconds=None, otherwise=SnapshotFailed)
    def snapshot_create(self, uuid: str, name: str, description: str) -> SnapshotInfo:
        """Take one; the guest stands still meanwhile and runs on after.

        Raises SnapshotExists; NotSupported for what this host could not revert or would refuse; SnapshotFailed,
        also for a name that a file or QEMU could not carry; GuestStateInvalid for a guest that sleeps.
        """
        domain = self.domain(uuid)
        root = parse(domain.XMLDesc(0))
        active = bool(domain.isActive())
        refuse_creation(root, name, active=active, library_version=self.library_version())
        if power_state(domain.state()[0]) is PowerState.SUSPENDED:
            raise GuestStateInvalid("The guest sleeps; a snapshot cannot be taken of it.")
        if self._find(domain, name) is not None:
            raise SnapshotExists(f"The guest has a snapshot named {name} already.")
        snapshot = domain.snapshotCreateXML(snapshot_request(root, name, description, with_memory=active))
        return read_snapshot(parse(snapshot.getXMLDesc()), is_current=True)

    @remote(seconds=None, otherwise=SnapshotFailed, table=_FAILED)
    def snapshot_revert(self, uuid: str, name: str, *, running: bool | None = None) -> None:
        """Go back to it. libvirt stops the guest first: after a failure it is off.

        `running` True: the guest runs afterwards, else SnapshotFailed; False: it does not (paused, if the snapshot
        has its memory); None: as the snapshot was. Raises SnapshotNotFound, NotSupported before anything is touched.
        """
        domain = self.domain(uuid)
        snapshot = self._get(domain, name)
        root = parse(snapshot.getXMLDesc())
        info = read_snapshot(root, is_current=False)
        refuse_revert(root, info, library_version=self.library_version())
        flags = 0
        if running:
            flags = libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING
        elif running is False and info.state is PowerState.RUNNING:
            flags = libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED
        domain.revertToSnapshot(snapshot, flags)
        if running and power_state(domain.state()[0]) is not PowerState.RUNNING:
            raise SnapshotFailed("The guest went back to the snapshot but does not run.")

    @remote(seconds=None, otherwise=SnapshotFailed)
    def snapshot_delete(self, uuid: str, name: str) -> None:
        """Delete it; children move up. Raises SnapshotNotFound, SnapshotFailed."""
        self._get(self.domain(uuid), name).delete()

    @remote()
    def snapshots_export(self, uuid: str) -> list[SavedSnapshot]:
        """All metadata, parents first, enough to restore it elsewhere.

        With passwords of consoles, if the guest has some: without them a revert would take them away.
        """
        domain = self.domain(uuid)
        snapshots = _parents_first(domain)
        current = self._current(domain) if snapshots else ""
        saved = []
        for snapshot in snapshots:
            xml = snapshot.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE)
            info = read_snapshot(parse(xml), is_current=snapshot.getName() == current)
            saved.append(SavedSnapshot(info.name, info.parent, info.is_current, xml))
        return saved

    @remote()
    def snapshots_forget(self, uuid: str, names: Sequence[str]) -> None:
        """Drop metadata only, children first; data in the images stays. Names that are gone are passed over."""
        domain = self.domain(uuid)
        for snapshot in reversed(_parents_first(domain)):
            if snapshot.getName() not in names:
                continue
            check_wanted()
            try:
                with translated(self.is_alive):
                    snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
            except SnapshotNotFound:
                continue

    @remote()
    def snapshots_restore(self, uuid: str, saved: Sequence[SavedSnapshot]) -> None:
        """Put metadata back, parents first; what is there already is passed over. Idempotent."""
        domain = self.domain(uuid)
        present = {snapshot.getName() for snapshot in domain.listAllSnapshots()}
        current = self._current(domain)
        for one in saved_parents_first(saved):
            flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
            if one.is_current:
                flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT
            if one.name in present and (not one.is_current or one.name == current):
                continue
            check_wanted()
            with translated(self.is_alive, otherwise=SnapshotFailed):
                domain.snapshotCreateXML(one.xml, flags)

    def _find(self, domain: libvirt.virDomain, name: str) -> libvirt.virDomainSnapshot | None:
        try:
            with translated(self.is_alive):
                return domain.snapshotLookupByName(name)
        except SnapshotNotFound:
            return None

    def _get(self, domain: libvirt.virDomain, name: str) -> libvirt.virDomainSnapshot:
        found = self._find(domain, name)
        if found is None:
            raise SnapshotNotFound(f"The guest has no snapshot named {name}.")
        return found

    def _current(self, domain: libvirt.virDomain) -> str:
        """Name of the snapshot that the guest's present descends from, "" if none."""
        try:
            with translated(self.is_alive):
                return str(domain.snapshotCurrent().getName())
        except SnapshotNotFound:
            return ""


def _parents_first(domain: libvirt.virDomain) -> list[libvirt.virDomainSnapshot]:
    return list(domain.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL))


def saved_parents_first(saved: Iterable[SavedSnapshot]) -> list[SavedSnapshot]:
    """Order saved snapshots so that each comes after its parent, if its parent is among them.

    Raises SnapshotFailed for a circle, which no host writes.
    """
    waiting = {one.name: one for one in saved}
    ordered: list[SavedSnapshot] = []
    while waiting:
        ready = [one for one in waiting.values() if one.parent not in waiting]
        if not ready:
            raise SnapshotFailed("The saved snapshots are each other's parents.")
        for one in ready:
            ordered.append(waiting.pop(one.name))
    return ordered
