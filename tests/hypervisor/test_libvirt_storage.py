"""Which files are in use on a host, asked of libvirt's own test driver."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest

from hypervisor.libvirt_driver import open_libvirt
from hypervisor.libvirt_driver.loop import ensure_event_loop
from hypervisor.protocol import Hypervisor

URI = "test:///default"
POOL = "<pool type='dir'><name>own</name><target><path>/own</path></target></pool>"
DOMAIN = """<domain type='test'><name>user</name><memory>1024</memory><os><type>hvm</type></os><devices>
<disk type='{kind}' device='disk'><source {source}/><target dev='vda'/></disk></devices></domain>"""


@pytest.fixture
def handle() -> Iterator[libvirt.virConnect]:
    """A host with a pool of its own, which is there as long as a handle is open."""
    ensure_event_loop()
    opened = libvirt.open(URI)
    pool = opened.storagePoolDefineXML(POOL)
    pool.create()
    yield opened
    for domain in opened.listAllDomains():
        if domain.name() == "user":
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    for volume in pool.listAllVolumes():
        volume.delete()
    pool.destroy()
    pool.undefine()
    opened.close()


@pytest.fixture
def host() -> Iterator[Hypervisor]:
    connection = open_libvirt(URI)
    yield connection
    connection.close()


def volume(handle: libvirt.virConnect, name: str, below: str = "") -> None:
    backing = f"<backingStore><path>{below}</path><format type='qcow2'/></backingStore>" if below else ""
    handle.storagePoolLookupByName("own").createXML(
        f"<volume><name>{name}</name><capacity>1</capacity><target><format type='qcow2'/></target>{backing}</volume>"
    )


def test_what_another_image_is_based_on_is_in_use(handle: libvirt.virConnect, host: Hypervisor) -> None:
    """An image that is off, or of nobody at all: its guest's definition does not name what is below it."""
    volume(handle, "base.qcow2")
    volume(handle, "over.qcow2", below="/own/base.qcow2")
    assert "/own/base.qcow2" in host.files_in_use()


def test_what_is_for_the_next_start_is_in_use(handle: libvirt.virConnect, host: Hypervisor) -> None:
    domain = handle.defineXML(DOMAIN.format(kind="file", source="file='/own/now'"))
    domain.create()
    handle.defineXML(
        DOMAIN.format(kind="file", source="file='/own/next'").replace(
            "<memory", f"<uuid>{domain.UUIDString()}</uuid><memory"
        )
    )
    assert {"/own/now", "/own/next"} <= host.files_in_use()


def test_a_disk_that_is_named_by_its_pool_is_in_use(handle: libvirt.virConnect, host: Hypervisor) -> None:
    volume(handle, "data.qcow2")
    handle.defineXML(DOMAIN.format(kind="volume", source="pool='own' volume='data.qcow2'"))
    assert "/own/data.qcow2" in host.files_in_use()
    handle.storagePoolLookupByName("own").storageVolLookupByName("data.qcow2").delete()
    assert "/own/data.qcow2" not in host.files_in_use()


def test_what_a_snapshot_would_go_back_to_is_in_use(handle: libvirt.virConnect, host: Hypervisor) -> None:
    domain = handle.defineXML(DOMAIN.format(kind="file", source="file='/own/then'"))
    domain.snapshotCreateXML("<domainsnapshot><name>one</name></domainsnapshot>")
    handle.defineXML(
        DOMAIN.format(kind="file", source="file='/own/now'").replace(
            "<memory", f"<uuid>{domain.UUIDString()}</uuid><memory"
        )
    )
    assert {"/own/now", "/own/then"} <= host.files_in_use()
