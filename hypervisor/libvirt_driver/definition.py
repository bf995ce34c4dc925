"""A domain's XML, read into a GuestDefinition, and the mark that Slipway leaves in its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element

from hypervisor.document import attribute_of, parse, text_of, whole_number, write
from hypervisor.types import MARK_NAMESPACE, NIC, Disk, GuestDefinition

#: The prefix of Slipway's element under `<metadata>`.
MARK_PREFIX = "slipway"
_MARK_ELEMENT = "operation"

AGENT_CHANNEL = "org.qemu.guest_agent.0"

# libvirt's units for sizes of memory (formatdomain, "Memory Allocation"), in bytes.
_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 1000**2, "M": 1024**2, "MiB": 1024**2}
_UNITS |= {"GB": 1000**3, "G": 1024**3, "GiB": 1024**3, "TB": 1000**4, "T": 1024**4, "TiB": 1024**4}


@dataclass(frozen=True, slots=True)
class ManagementFacts:
    """What the host knows about a guest beside its XML."""

    persistent: bool
    autostart: bool
    has_managed_save: bool


def mark_element(operation_id: str) -> str:
    """The element for `virDomainSetMetadata`; libvirt adds namespace and prefix."""
    return write(Element(_MARK_ELEMENT, {"id": operation_id}))


def read_definition(live_xml: str, kept_xml: str, facts: ManagementFacts) -> GuestDefinition:
    """Read a definition.

    `live_xml` is the domain as it is now; `kept_xml` is what to define it from again (of a persistent guest its
    persistent configuration). Raises HypervisorError when the XML cannot be read.
    """
    root = parse(live_xml)
    agent = _agent_channel(root)
    return GuestDefinition(
        uuid=text_of(root, "uuid"),
        name=text_of(root, "name"),
        title=text_of(root, "title"),
        description=text_of(root, "description"),
        virt_type=root.get("type", ""),
        machine=attribute_of(root, "os/type", "machine"),
        cpu_model=_cpu_model(root),
        kernel_cmdline=text_of(root, "os/cmdline"),
        loader=text_of(root, "os/loader") or attribute_of(root, "os", "firmware"),
        memory_mib=_memory_mib(root),
        vcpus=_vcpus(root),
        persistent=facts.persistent,
        autostart=facts.autostart,
        has_managed_save=facts.has_managed_save,
        agent_channel=agent is not None,
        agent_connected=agent is not None and attribute_of(agent, "target", "state") == "connected",
        hostdevs=tuple(describe_hostdev(device) for device in root.findall("devices/hostdev")),
        filesystems=tuple(describe_filesystem(device) for device in root.findall("devices/filesystem")),
        nics=read_nics(root),
        disks=read_disks(root),
        operation_id=read_mark(root),
        xml=kept_xml,
    )


def read_disks(root: Element) -> tuple[Disk, ...]:
    """The drives of a `<domain>`."""
    return tuple(_disk(device) for device in root.findall("devices/disk"))


def read_nics(root: Element) -> tuple[NIC, ...]:
    """The network cards of a `<domain>`."""
    return tuple(_nic(device) for device in root.findall("devices/interface"))


def describe_hostdev(device: Element) -> str:
    """A device of the host that was given to the guest, in words: its kind and its address."""
    kind = device.get("type", "") or device.get("mode", "")
    address = device.find("source/address")
    where = "" if address is None else " ".join(f"{key}={value}" for key, value in sorted(address.items()))
    return f"{kind} {where}".strip()


def describe_filesystem(device: Element) -> str:
    """A directory of the host that the guest sees, in words: how, and under which name."""
    return f"{attribute_of(device, 'driver', 'type', 'path')}:{attribute_of(device, 'target', 'dir')}"


def is_writable(disk: Disk) -> bool:
    """Whether a drive holds state of the guest: not read-only, and not an empty drive."""
    return not disk.read_only and bool(disk.source)


def read_mark(root: Element) -> str:
    """The operation id that Slipway left in the metadata, "" if none."""
    return attribute_of(root, f"metadata/{{{MARK_NAMESPACE}}}{_MARK_ELEMENT}", "id")


def keep_passwords(there: Element, new: Element) -> None:
    """Give the consoles of a new definition the passwords that the present one has, console by console of each kind."""
    of_kind: dict[str, list[Element]] = {}
    for graphics in there.findall("devices/graphics"):
        of_kind.setdefault(graphics.get("type", ""), []).append(graphics)
    for graphics in new.findall("devices/graphics"):
        known = of_kind.get(graphics.get("type", ""))
        held = known.pop(0) if known else None
        if held is None or "passwd" in graphics.attrib:
            continue
        for name in ("passwd", "passwdValidTo", "connected"):
            if name in held.attrib:
                graphics.set(name, held.attrib[name])


def uses_flash_firmware(root: Element) -> bool:
    """Whether the guest boots from flash (UEFI), which internal snapshots cannot hold everywhere."""
    return attribute_of(root, "os/loader", "type") == "pflash" or attribute_of(root, "os", "firmware") == "efi"


def nvram_format(root: Element) -> str:
    """Format of the file that keeps the firmware's variables ("raw" unless said)."""
    return attribute_of(root, "os/nvram", "format", "raw")


def _agent_channel(root: Element) -> Element | None:
    for channel in root.findall("devices/channel"):
        if attribute_of(channel, "target", "name") == AGENT_CHANNEL:
            return channel
    return None


def _memory_mib(root: Element) -> int:
    memory = root.find("memory")
    if memory is None:
        return 0
    return whole_number(memory.text) * _UNITS.get(memory.get("unit", "KiB"), 1024) // 1024**2


def _vcpus(root: Element) -> int:
    vcpu = root.find("vcpu")
    if vcpu is None:
        return 1
    return whole_number(vcpu.get("current") or vcpu.text, 1)


def _cpu_model(root: Element) -> str:
    cpu = root.find("cpu")
    if cpu is None:
        return ""
    return text_of(cpu, "model").strip() or cpu.get("mode", "")


def _disk(device: Element) -> Disk:
    source = device.find("source")
    location = ""
    if source is not None:
        # One attribute names the source, which one depends on the disk's type (formatdomain, "Hard drives").
        parts = (source.get(name, "") for name in ("file", "dev", "dir", "name", "volume"))
        location = next((part for part in parts if part), "")
        if source.get("pool"):
            location = f"{source.get('pool')}/{location}"
        if source.get("protocol"):
            location = f"{source.get('protocol')}:{location}"
    return Disk(
        target=attribute_of(device, "target", "dev"),
        device=device.get("device", "disk"),
        source=location,
        format=attribute_of(device, "driver", "type", "raw"),
        cache=attribute_of(device, "driver", "cache", "default"),
        read_only=device.find("readonly") is not None,
        shareable=device.find("shareable") is not None,
        source_kind=device.get("type", "file"),
    )


def _nic(device: Element) -> NIC:
    kind = device.get("type", "")
    source = device.find("source")
    names = ("network", "bridge", "dev", "path", "name")
    return NIC(
        mac=attribute_of(device, "mac", "address"),
        source_kind=kind,
        source="" if source is None else next((source.get(name, "") for name in names if source.get(name)), ""),
        model=attribute_of(device, "model", "type"),
    )
