"""What the libvirt driver reads out of a domain's XML before a migration: its needs, and what ties it to its host."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypervisor.document import parse
from hypervisor.libvirt_driver.needs import read_needs
from hypervisor.types import GuestNeeds

DATA = Path(__file__).parent / "data"


def needs(devices: str = "", system: str = "", beside: str = "", *, listed: bool = False) -> GuestNeeds:
    """Of a domain with these parts."""
    xml = (
        f"<domain type='kvm'><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>{system}</os>{beside}"
        f"<devices><emulator>/usr/bin/qemu</emulator>{devices}</devices></domain>"
    )
    return read_needs(parse(xml), lambda _needs: listed)


def test_a_guest_says_which_machine_it_needs() -> None:
    found = read_needs(parse((DATA / "domain.xml").read_text()), lambda _needs: False)
    assert (found.virt_type, found.arch, found.machine) == ("kvm", "x86_64", "pc-q35-7.2")
    assert found.emulator == "/usr/bin/qemu-system-x86_64"
    assert (found.cpu_mode, found.cpu_features) == ("custom", ("vme",))
    assert "Haswell-noTSX" in found.cpu_xml
    assert [nic.source for nic in found.nics] == ["default", "br-eng", "eth0"]
    assert found.ties == ("pci bus=0x06 domain=0x0000 function=0x0 slot=0x02", "virtiofs:shared")


def test_a_plain_guest_is_tied_by_nothing() -> None:
    found = needs()
    assert (found.ties, found.files, found.filters, found.busy_disks) == ((), (), (), ())
    assert (found.cpu_mode, found.cpu_xml, found.firmware) == ("", "", "")


@pytest.mark.parametrize(
    ("devices", "tie"),
    [
        ("<hostdev type='mdev'><source><address uuid='7'/></source></hostdev>", "mdev uuid=7"),
        ("<hostdev type='usb'/>", "usb"),
        ("<interface type='vdpa'><mac address='aa:bb'/></interface>", "the network card aa:bb (vdpa)"),
        ("<interface type='hostdev'><mac address='aa:bb'/></interface>", "the network card aa:bb (hostdev)"),
        ("<filesystem><driver type='virtiofs'/><target dir='x'/></filesystem>", "virtiofs:x"),
        ("<disk><target dev='vdb'/><transient/></disk>", "the transient disk vdb"),
        ("<shmem name='lg'><model type='ivshmem'/></shmem>", "the shared memory lg"),
        ("<shmem name='lg' role='peer'><model type='ivshmem-plain'/></shmem>", "the shared memory lg"),
        ("<shmem name='lg'><model type='ivshmem-plain'/></shmem>", "the shared memory lg"),
        ("<tpm><backend type='passthrough'/></tpm>", "the TPM of the host"),
        ("<memory model='nvdimm'/>", "a memory module (nvdimm) without an address"),
        ("<memory model='dimm'><address base='0x1'/></memory>", "a memory module (dimm) without an address"),
    ],
)
def test_a_device_that_libvirt_refuses_to_migrate_is_named(devices: str, tie: str) -> None:
    assert needs(devices).ties == (tie,)


@pytest.mark.parametrize(
    "devices",
    [
        "<hostdev type='pci'><teaming type='transient' persistent='ua-1'/></hostdev>",
        "<interface type='hostdev'><teaming type='transient' persistent='ua-1'/></interface>",
        "<shmem name='lg' role='master'><model type='ivshmem-doorbell'/></shmem>",
        "<tpm><backend type='emulator' version='2.0'/></tpm>",
        "<memory model='dimm'><address type='dimm' slot='0' base='0x100000000'/></memory>",
        "<memory model='virtio-mem'/>",
    ],
)
def test_what_travels_along_is_no_tie(devices: str) -> None:
    assert needs(devices).ties == ()


def test_a_clock_that_the_destination_could_not_keep_is_a_tie() -> None:
    cpu = "<cpu mode='custom'><feature name='invtsc'{}/></cpu>"
    assert needs(beside=cpu.format("")).ties == ("the CPU feature invtsc without a TSC frequency",)
    assert needs(beside=cpu.format(" policy='disable'")).ties == ()
    kept = "<clock><timer name='tsc' frequency='2400000000'/></clock>"
    assert needs(beside=cpu.format(" policy='require'") + kept).ties == ()


def test_encrypted_memory_stays() -> None:
    assert needs(beside="<launchSecurity type='sev'/>").ties == ("the encrypted memory (sev)",)


def test_a_disk_that_is_being_mirrored_is_busy() -> None:
    disks = "<disk><target dev='vda'/></disk><disk><mirror type='file'/><target dev='vdb'/></disk>"
    assert needs(disks).busy_disks == ("vdb",)


def test_the_files_beside_the_disks_are_gathered() -> None:
    system = (
        "<loader>/fw/CODE.fd</loader><nvram template='/fw/VARS.fd'>/nvram/a</nvram>"
        "<kernel>/boot/k</kernel><initrd>/boot/i</initrd>"
    )
    devices = (
        "<disk type='file' device='disk'><source file='/images/a'/><target dev='vda'/></disk>"
        "<disk type='file' device='cdrom'><source file='/iso/a'/><target dev='sda'/><readonly/></disk>"
        "<disk type='file' device='cdrom'><target dev='sdb'/><readonly/></disk>"
    )
    found = needs(devices, system)
    assert found.files == ("/boot/k", "/boot/i", "/fw/VARS.fd", "/fw/CODE.fd", "/iso/a")
    assert (found.firmware, found.firmware_listed) == ("/fw/CODE.fd", False)
    listed = needs(devices, system, listed=True)
    assert "/fw/CODE.fd" not in listed.files
    assert listed.firmware_listed


def test_the_filters_of_all_cards_are_gathered_once() -> None:
    card = "<interface type='bridge'><filterref filter='{}'/></interface>"
    assert needs(card.format("b") + card.format("a") + card.format("b")).filters == ("a", "b")
