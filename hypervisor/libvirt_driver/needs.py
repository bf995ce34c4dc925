"""What a domain's XML asks of the host that it moves to, and what in it cannot leave the one where it is.

The rules for what cannot leave are libvirt's own (`qemuMigrationSrcIsAllowed` in src/qemu/qemu_migration.c, read in
9.0): it refuses the same, but only once the migration has been asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element

from hypervisor.document import attribute_of, text_of, write
from hypervisor.libvirt_driver.definition import describe_filesystem, describe_hostdev, read_disks, read_nics
from hypervisor.types import GuestNeeds

#: CPU features with these policies are asked of the host.
_ASKED_FOR = frozenset({"", "force", "require"})


def read_needs(root: Element, is_listed: Callable[[GuestNeeds], bool]) -> GuestNeeds:
    """Read a `<domain>` in the form that is sent to another host. `is_listed` tells whether the present host counts the
    guest's firmware among its own.
    """
    cpu = root.find("cpu")
    bare = GuestNeeds(
        virt_type=root.get("type", ""),
        arch=attribute_of(root, "os/type", "arch"),
        emulator=text_of(root, "devices/emulator"),
        machine=attribute_of(root, "os/type", "machine"),
        firmware=text_of(root, "os/loader"),
    )
    listed = bool(bare.firmware) and is_listed(bare)
    return replace(
        bare,
        cpu_mode="" if cpu is None else cpu.get("mode", "custom"),
        cpu_features=tuple(_features(cpu)),
        cpu_xml="" if cpu is None else write(cpu),
        firmware_listed=listed,
        files=tuple(dict.fromkeys(_files(root, firmware_listed=listed))),
        filters=tuple(
            sorted({found.get("filter", "") for found in root.findall("devices/interface/filterref")} - {""})
        ),
        nics=read_nics(root),
        ties=tuple(_ties(root)),
        busy_disks=tuple(
            attribute_of(disk, "target", "dev")
            for disk in root.findall("devices/disk")
            if disk.find("mirror") is not None
        ),
    )


def _features(cpu: Element | None) -> Iterator[str]:
    for feature in () if cpu is None else cpu.findall("feature"):
        if feature.get("policy", "") in _ASKED_FOR:
            yield feature.get("name", "")


def _files(root: Element, *, firmware_listed: bool) -> Iterator[str]:
    """Paths that the guest's QEMU opens at its start, but for the disks that it writes."""
    paths = [text_of(root, f"os/{name}") for name in ("kernel", "initrd", "dtb")]
    paths.append(attribute_of(root, "os/nvram", "template"))
    if not firmware_listed:
        paths.append(text_of(root, "os/loader"))
    paths += [disk.source for disk in read_disks(root) if disk.read_only and disk.source_kind == "file"]
    paths += [text_of(memory, "source/path") for memory in root.findall("devices/memory")]
    yield from (path for path in paths if path)


def _ties(root: Element) -> Iterator[str]:
    """What stays behind or stands in the way, in words that complete “... cannot leave”."""
    for hostdev in root.findall("devices/hostdev"):
        if not _is_spare(hostdev):
            yield describe_hostdev(hostdev)
    for interface in root.findall("devices/interface"):
        kind, mac = interface.get("type", ""), attribute_of(interface, "mac", "address")
        if kind == "vdpa" or (kind == "hostdev" and not _is_spare(interface)):
            yield f"the network card {mac} ({kind})"
    yield from (describe_filesystem(device) for device in root.findall("devices/filesystem"))
    for disk in root.findall("devices/disk[transient]"):
        yield f"the transient disk {attribute_of(disk, 'target', 'dev')}"
    yield from _memory(root)
    if root.find("devices/tpm/backend[@type='passthrough']") is not None:
        yield "the TPM of the host"
    if root.find("launchSecurity") is not None:
        yield f"the encrypted memory ({attribute_of(root, 'launchSecurity', 'type')})"
    if "invtsc" in _features(root.find("cpu")) and not _has_tsc_frequency(root):
        yield "the CPU feature invtsc without a TSC frequency"


def _memory(root: Element) -> Iterator[str]:
    """Memory modules that the destination could not put into the same places, and memory shared with other guests: only
    its master takes it along, and only in the newer models.
    """
    for memory in root.findall("devices/memory"):
        address = memory.find("address")
        if memory.get("model") in ("dimm", "nvdimm") and (address is None or "slot" not in address.attrib):
            yield f"a memory module ({memory.get('model')}) without an address"
    for device in root.findall("devices/shmem"):
        if attribute_of(device, "model", "type") == "ivshmem" or device.get("role") != "master":
            yield f"the shared memory {device.get('name', '')}"


def _is_spare(device: Element) -> bool:
    """Whether it is the part of a pair that is unplugged for the migration and plugged in again by libvirt."""
    return attribute_of(device, "teaming", "type") == "transient"


def _has_tsc_frequency(root: Element) -> bool:
    return any(timer.get("name") == "tsc" and timer.get("frequency") for timer in root.findall("clock/timer"))
