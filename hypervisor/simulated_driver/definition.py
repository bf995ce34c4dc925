"""A simulated guest's definition: as it is stored, as the protocol's dataclass, and as domain XML in libvirt's form."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import uuid as uuids
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from hypervisor.errors import HypervisorError
from hypervisor.types import NIC, Disk, GuestDefinition, GuestNeeds, HostLacks, PowerState

#: Of the element in a domain's metadata that holds the operation's mark.
NAMESPACE = "urn:slipway:simulated"
#: What every simulated host has: machine types, and the filters for network cards that libvirt brings along.
MACHINES = frozenset({"pc-q35-6.2", "pc-q35-7.2", "pc-i440fx-7.2"})
FILTERS = frozenset({"clean-traffic", "no-arp-spoofing", "no-ip-spoofing", "no-mac-spoofing"})
_HABITS = ("dirty_mib", "hot_mib", "resident_part", "cpu_part")
_AGENT_CHANNEL = "org.qemu.guest_agent.0"
_UNITS = {"b": 1, "bytes": 1, "k": 1024, "KiB": 1024, "M": 1024**2, "MiB": 1024**2, "G": 1024**3, "GiB": 1024**3}


@dataclass(frozen=True, slots=True)
class Config:
    """What a definition says beside the columns of the guest's row; the last four are the simulated guest's habits."""

    title: str = ""
    description: str = ""
    machine: str = "pc-q35-7.2"
    cpu_model: str = "host-model"
    kernel_cmdline: str = ""
    loader: str = ""
    agent_channel: bool = True
    hostdevs: tuple[str, ...] = ()
    filesystems: tuple[str, ...] = ()
    nics: tuple[NIC, ...] = ()
    disks: tuple[Disk, ...] = ()
    filters: tuple[str, ...] = ()
    dirty_mib: float = 4.0  # memory dirtied, MiB a second
    hot_mib: float = 64.0  # working set
    resident_part: float = 0.6  # of the memory, that is not zero pages
    cpu_part: float = 0.1  # of its CPUs, that it uses while it runs

    def dumps(self) -> str:
        """As stored."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Config:
        """From the store."""
        data = json.loads(text)
        data["nics"] = tuple(NIC(**nic) for nic in data["nics"])
        data["disks"] = tuple(Disk(**disk) for disk in data["disks"])
        data["hostdevs"] = tuple(data["hostdevs"])
        data["filesystems"] = tuple(data["filesystems"])
        data["filters"] = tuple(data.get("filters", ()))
        return cls(**data)


@dataclass(frozen=True, slots=True)
class ParsedDomain:
    """What a domain XML says."""

    uuid: str
    name: str
    memory_mib: int
    vcpus: int
    operation_id: str
    config: Config


def definition_of(guest: sqlite3.Row) -> GuestDefinition:
    """The protocol's definition of a stored guest."""
    config = Config.loads(guest["config"])
    return GuestDefinition(
        uuid=guest["uuid"],
        name=guest["name"],
        title=config.title,
        description=config.description,
        virt_type="simulated",
        machine=config.machine,
        cpu_model=config.cpu_model,
        kernel_cmdline=config.kernel_cmdline,
        loader=config.loader,
        memory_mib=guest["memory_mib"],
        vcpus=guest["vcpus"],
        persistent=bool(guest["persistent"]),
        autostart=bool(guest["autostart"]),
        has_managed_save=False,
        agent_channel=config.agent_channel,
        agent_connected=bool(guest["agent_up"]) and guest["state"] == PowerState.RUNNING,
        hostdevs=config.hostdevs,
        filesystems=config.filesystems,
        nics=config.nics,
        disks=config.disks,
        operation_id=guest["operation_id"],
        xml=domain_xml(guest),
    )


def needs_of(guest: sqlite3.Row) -> GuestNeeds:
    """What a stored guest needs of another host; its simulated host has no firmware and no files to miss."""
    config = Config.loads(guest["config"])
    return GuestNeeds(
        virt_type="simulated",
        arch="x86_64",
        emulator="",
        machine=config.machine,
        cpu_mode="custom",
        filters=config.filters,
        nics=config.nics,
        ties=(*config.hostdevs, *config.filesystems),
    )


def lacks_of(networks: set[str], needs: GuestNeeds) -> HostLacks:
    """What a simulated host with these networks has not of that."""
    known = needs.machine in MACHINES
    return HostLacks(
        networks=tuple(sorted({nic.source for nic in needs.nics if nic.source} - networks)),
        filters=tuple(name for name in needs.filters if name not in FILTERS),
        machine="" if known else f"The machine “{needs.machine}” is not supported.",
    )


def domain_xml(guest: sqlite3.Row, *, as_it_runs: bool = False) -> str:
    """A stored guest as domain XML: what is kept of it, or with the mark of its run."""
    config = Config.loads(guest["config"])
    domain = ET.Element("domain", type="simulated")
    for tag, text in (("name", guest["name"]), ("uuid", guest["uuid"]), ("title", config.title)):
        if text:
            ET.SubElement(domain, tag).text = text
    if config.description:
        ET.SubElement(domain, "description").text = config.description
    metadata = ET.SubElement(domain, "metadata")
    habits = {name: str(float(getattr(config, name))) for name in _HABITS}
    mark = guest["operation_id"] if as_it_runs or guest["state"] == PowerState.SHUT_OFF else ""
    ET.SubElement(metadata, f"{{{NAMESPACE}}}guest", {"operation": mark, **habits})
    ET.SubElement(domain, "memory", unit="MiB").text = str(guest["memory_mib"])
    ET.SubElement(domain, "vcpu").text = str(guest["vcpus"])
    system = ET.SubElement(domain, "os")
    ET.SubElement(system, "type", arch="x86_64", machine=config.machine).text = "hvm"
    if config.loader:
        ET.SubElement(system, "loader").text = config.loader
    if config.kernel_cmdline:
        ET.SubElement(system, "cmdline").text = config.kernel_cmdline
    cpu = ET.SubElement(domain, "cpu", mode="custom")
    ET.SubElement(cpu, "model").text = config.cpu_model
    _add_devices(ET.SubElement(domain, "devices"), config)
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode")


def parse_domain(xml: str) -> ParsedDomain:
    """What a domain XML says. Raises HypervisorError, with a sentence, for what is not one."""
    domain = parse_xml(xml, "domain")
    name = domain.findtext("name") or ""
    if not name or "/" in name or "\n" in name:
        raise HypervisorError("The definition has no name, or one with a slash or a line break.")
    try:
        uuid = str(uuids.UUID(domain.findtext("uuid") or str(uuids.uuid4())))
        memory = domain.find("memory")
        if memory is None:
            raise HypervisorError("The definition does not say how much memory the guest has.")
        memory_mib = int(memory.text or "") * _UNITS[memory.get("unit", "KiB")] // 1024**2
        vcpus = int(domain.findtext("vcpu") or "1")
        mark = domain.find(f"metadata/{{{NAMESPACE}}}guest")
        config = _config(domain, mark)
    except (ValueError, KeyError) as error:
        raise HypervisorError(f"The definition cannot be understood: {error}.") from error
    return ParsedDomain(uuid, name, memory_mib, vcpus, "" if mark is None else mark.get("operation", ""), config)


def parse_xml(xml: str, root: str) -> ET.Element:
    """Parse XML whose root must have that name; no document types, so no entities. Raises HypervisorError."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise HypervisorError("XML with a document type is not accepted.")
    try:
        element = ET.fromstring(xml)  # noqa: S314 - without a document type there are no entities to expand
    except (ET.ParseError, ValueError) as error:
        raise HypervisorError(f"The XML is not well-formed: {error}.") from error
    if element.tag != root:
        raise HypervisorError(f"The XML is a <{element.tag}>, not a <{root}>.")
    return element


def _add_devices(devices: ET.Element, config: Config) -> None:
    for disk in config.disks:
        element = ET.SubElement(devices, "disk", type=disk.source_kind, device=disk.device)
        driver = {"name": "qemu", "type": disk.format, "cache": disk.cache}
        ET.SubElement(element, "driver", {key: value for key, value in driver.items() if value})
        if disk.source:
            ET.SubElement(element, "source", {"dev" if disk.source_kind == "block" else "file": disk.source})
        ET.SubElement(element, "target", dev=disk.target)
        if disk.read_only:
            ET.SubElement(element, "readonly")
        if disk.shareable:
            ET.SubElement(element, "shareable")
    for place, nic in enumerate(config.nics):
        element = ET.SubElement(devices, "interface", type=nic.source_kind)
        ET.SubElement(element, "mac", address=nic.mac)
        ET.SubElement(element, "source", {nic.source_kind: nic.source})
        if nic.model:
            ET.SubElement(element, "model", type=nic.model)
        for name in config.filters if place == 0 else ():
            ET.SubElement(element, "filterref", filter=name)
    for path in config.filesystems:
        ET.SubElement(ET.SubElement(devices, "filesystem", type="mount"), "source", dir=path)
    for address in config.hostdevs:
        ET.SubElement(ET.SubElement(devices, "hostdev", mode="subsystem"), "source", name=address)
    if config.agent_channel:
        channel = ET.SubElement(devices, "channel", type="unix")
        ET.SubElement(channel, "target", type="virtio", name=_AGENT_CHANNEL)


def _config(domain: ET.Element, mark: ET.Element | None) -> Config:
    known = Config()
    habits = {
        name: float(getattr(known, name) if mark is None else mark.get(name, getattr(known, name))) for name in _HABITS
    }
    kind = domain.find("os/type")
    channels = [target.get("name") for target in domain.findall("devices/channel/target")]
    return Config(
        title=domain.findtext("title") or "",
        description=domain.findtext("description") or "",
        machine=known.machine if kind is None else kind.get("machine", known.machine),
        cpu_model=domain.findtext("cpu/model") or known.cpu_model,
        kernel_cmdline=domain.findtext("os/cmdline") or "",
        loader=domain.findtext("os/loader") or "",
        agent_channel=_AGENT_CHANNEL in channels,
        hostdevs=tuple(_source(element) for element in domain.findall("devices/hostdev")),
        filesystems=tuple(_source(element) for element in domain.findall("devices/filesystem")),
        nics=tuple(_nic(element) for element in domain.findall("devices/interface")),
        disks=tuple(_disk(element) for element in domain.findall("devices/disk")),
        filters=tuple(found.get("filter", "") for found in domain.findall("devices/interface/filterref")),
        **habits,
    )


def _nic(element: ET.Element) -> NIC:
    mac, model = element.find("mac"), element.find("model")
    return NIC(
        mac="" if mac is None else mac.get("address", ""),
        source_kind=element.get("type", ""),
        source=_source(element),
        model="" if model is None else model.get("type", ""),
    )


def _disk(element: ET.Element) -> Disk:
    driver, target = element.find("driver"), element.find("target")
    return Disk(
        target="" if target is None else target.get("dev", ""),
        device=element.get("device", "disk"),
        source=_source(element),
        format="raw" if driver is None else driver.get("type", "raw"),
        cache="" if driver is None else driver.get("cache", ""),
        read_only=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        source_kind=element.get("type", "file"),
    )


def _source(element: ET.Element) -> str:
    """Whatever the device's source names: a path, a network, a bridge, an address."""
    source = element.find("source")
    if source is None:
        return ""
    keys = ("file", "dev", "network", "bridge", "dir", "name")
    return next((source.attrib[key] for key in keys if key in source.attrib), "")
