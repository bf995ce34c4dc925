"""A host's own facts: identity, size, versions, and the networks that guests can join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import libvirt

from hypervisor.document import attribute_of, parse, text_of
from hypervisor.errors import HypervisorError, NotSupported
from hypervisor.libvirt_driver.connection import version_triple
from hypervisor.libvirt_driver.errors import translated
from hypervisor.types import HostFacts, HostIdentity

#: Part of the page cache that a new guest may count on; the rest is taken as the host's working set.
RECLAIMABLE = 0.8
#: Where `virNodeInfo` has the memory (MiB) and the CPUs.
_INFO_MIB, _INFO_CPUS = 1, 2


def read_identity(handle: libvirt.virConnect, library_version: tuple[int, int, int]) -> HostIdentity:
    """Ask a host who it is; the costly part of `read_host`, several documents long."""
    capabilities = parse(handle.getCapabilities())
    return HostIdentity(
        hostname=handle.getHostname(),
        host_uuid=text_of(capabilities, "host/uuid"),
        cpus=handle.getInfo()[_INFO_CPUS],
        cpu_model=text_of(capabilities, "host/cpu/model") or text_of(capabilities, "host/cpu/arch"),
        hypervisor=handle.getType(),
        hypervisor_version=version_triple(handle.getVersion()),
        library_version=library_version,
    )


def read_host(handle: libvirt.virConnect, identity: HostIdentity) -> HostFacts:
    """Ask a host about itself. `memory_free_mib` is free memory and four fifths of the page cache."""
    memory_mib, memory_free_mib = _memory_mib(handle)
    return HostFacts(
        **asdict(identity),
        memory_mib=memory_mib,
        memory_free_mib=memory_free_mib,
    )


def networks(handle: libvirt.virConnect, is_alive: Callable[[], bool]) -> list[str]:
    """Names of active libvirt networks, of their bridges, and of bridges that the host's interfaces make."""
    names = set()
    for network in handle.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE):
        names.add(network.name())
        names.add(_bridge_name(network, is_alive))
    names |= set(_bridges(handle, is_alive))
    return sorted(names - {""})


def is_bridge(handle: libvirt.virConnect, name: str, is_alive: Callable[[], bool]) -> bool:
    """Whether an active interface of this name is a bridge, as far as the host's interface driver tells."""
    try:
        with translated(is_alive):
            interface = handle.interfaceLookupByName(name)
            return bool(interface.isActive()) and parse(interface.XMLDesc()).get("type") == "bridge"
    except HypervisorError:
        return False  # none of that name, or no such driver: the list decides


def _memory_mib(handle: libvirt.virConnect) -> tuple[int, int]:
    """Memory of the host, all and free. The node info's figure misses memory that was plugged in later."""
    try:
        with translated(lambda: True):
            stats: dict[str, int] = handle.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)  # in KiB
    except NotSupported:
        return handle.getInfo()[_INFO_MIB], int(handle.getFreeMemory()) // 1024**2
    cache = stats.get("buffers", 0) + stats.get("cached", 0)
    free = int(stats.get("free", 0) + RECLAIMABLE * cache)
    total = stats["total"] // 1024 if "total" in stats else handle.getInfo()[_INFO_MIB]
    return total, free // 1024


def _bridge_name(network: libvirt.virNetwork, is_alive: Callable[[], bool]) -> str:
    try:
        with translated(is_alive):
            return str(network.bridgeName())
    except HypervisorError:
        return ""  # a network of the kind that has no bridge (hostdev, macvtap pools)


def _bridges(handle: libvirt.virConnect, is_alive: Callable[[], bool]) -> list[str]:
    try:
        with translated(is_alive):
            interfaces = handle.listAllInterfaces(libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE)
            descriptions = [parse(interface.XMLDesc()) for interface in interfaces]
    except NotSupported:
        return []  # a host without libvirt's interface driver
    return [attribute_of(root, ".", "name") for root in descriptions if root.get("type") == "bridge"]
