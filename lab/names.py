"""Names and addresses of a lab; pure functions of the lab's name, its number and its subnet.

One /24 a lab, cut in three: `mgmt` (hosts, migration traffic), `acct` and `eng` (guests). The outer
namespace holds the first address of each part.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

#: Network parts of a lab, in the order of their quarters of the /24.
MANAGEMENT = "mgmt"
SEGMENTS = ("acct", "eng")
NETWORKS = (MANAGEMENT, *SEGMENTS)
FEWEST_HOSTS, MOST_HOSTS = 2, 4
REPOSITORY_PORT = 8080

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}(?<!-)\Z")
_GUEST = re.compile(r"[a-z][a-z0-9-]{0,40}(?<!-)\Z")
_NAMESPACE = uuid.UUID("5d3b6a52-6f0e-4a55-9d8a-2f6f6c2f9f41")
_FIRST_HOST, _FIRST_GUEST = 11, 6


def check_lab_name(name: str) -> str:
    """Return `name`; raises ValueError unless it is lower case letters, digits and dashes."""
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is not a lab name: lower case letters, digits, dashes, 32 at most")
    return name


def check_guest_name(name: str) -> str:
    """Return `name`; raises ValueError unless it can be a domain, a host and a file name."""
    if not _GUEST.match(name):
        raise ValueError(f"{name!r} is not a guest name: lower case letters, digits, dashes")
    return name


def subnet_candidates(name: str) -> Iterator[IPv4Network]:
    """Every /24 a lab may have, in 10.96.0.0/11, the one derived from its name first."""
    digest = hashlib.sha256(name.encode()).digest()
    start = int.from_bytes(digest[:2], "big") % 8192
    for step in range(8192):
        number = (start + step) % 8192
        yield IPv4Network(f"10.{96 + number // 256}.{number % 256}.0/24")


def prefix(subnet: IPv4Network) -> str:
    """What the names of a lab's links and namespaces begin with, e.g. `lab6a1b`.

    Derived from the subnet, so two labs that do not share one never share a name. Short, because
    a link's name has 15 characters at most.
    """
    octets = subnet.network_address.packed
    return f"lab{octets[1]:02x}{octets[2]:02x}"


def part(subnet: IPv4Network, network: str) -> IPv4Network:
    """The /26 of a network (`mgmt`, `acct` or `eng`)."""
    return list(subnet.subnets(new_prefix=26))[NETWORKS.index(network)]


def outer_address(subnet: IPv4Network, network: str) -> IPv4Address:
    """The address of the outer namespace on a network."""
    return part(subnet, network).network_address + 1


def host_name(index: int) -> str:
    """The name of a host; hosts count from 1."""
    return f"host{index}"


def host_address(subnet: IPv4Network, index: int) -> IPv4Address:
    """Where the host's libvirtd listens."""
    return part(subnet, MANAGEMENT).network_address + _FIRST_HOST + index - 1


def guest_addresses(subnet: IPv4Network, segment: str) -> Iterator[IPv4Address]:
    """The addresses a segment has for guests."""
    hosts = list(part(subnet, segment).hosts())
    return iter(hosts[_FIRST_GUEST - 1 :])


def mac(address: IPv4Address) -> str:
    """A guest's hardware address: QEMU's prefix and the lab-wide unique part of its IPv4 address."""
    return "52:54:00:" + ":".join(f"{octet:02x}" for octet in address.packed[1:])


def lab_uuid(lab: str, what: str) -> str:
    """A UUID that is the same each time a lab of this name makes the same thing."""
    return str(uuid.uuid5(_NAMESPACE, f"{lab}/{what}"))


def segment_of(guest: str) -> str:
    """The segment a guest's name begins with; `acct` when it begins with none."""
    return next((s for s in SEGMENTS if guest.startswith(f"{s}-")), SEGMENTS[0])
