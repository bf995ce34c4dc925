"""Host addresses, parsed into validated parts and built again from them; never passed through.

A libvirt URI can run a program (`?command=`, the `+ext` transports), open any socket (`?socket=`) or read a
local file (`test:///path`); see libvirt's "Remote support" page, section "Extra parameters". So Slipway accepts
five shapes, refuses every query, fragment, password and path beside them, and hands libvirt only what
`HostURI.__str__` writes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

LOCAL = "qemu:///system"
TEST = "test:///default"
#: Schemes a production installation accepts; `qemu+tcp` (no encryption), `sim` and `test` need a setting.
SAFE_SCHEMES = frozenset({"qemu", "qemu+tls", "qemu+ssh"})
ALL_SCHEMES = SAFE_SCHEMES | {"qemu+tcp", "sim", "test"}

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z", re.ASCII)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z", re.ASCII)
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\Z", re.ASCII)
_BROADCAST = "255.255.255.255"
# One expression for the whole text: urllib's reading of an authority is more forgiving than ours may be.
_REMOTE = re.compile(
    r"[a-z+]+://(?:(?P<user>[^@/\[\]]*)@)?"
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[a-z]*)?\Z",
    re.ASCII,
)
_SHAPES = {
    "qemu+tls": "qemu+tls://host[:port]/system",
    "qemu+ssh": "qemu+ssh://[user@]host[:port]/system",
    "qemu+tcp": "qemu+tcp://host[:port]/system",
    "sim": "sim://name/",
}


class InvalidHostURI(ValueError):
    """The text is not one of the accepted shapes; the message says which rule it broke."""


@dataclass(frozen=True, slots=True)
class HostURI:
    """The parts of a host's address. `str()` is the URI given to libvirt."""

    scheme: str
    host: str = ""
    port: int | None = None
    user: str = ""

    def __str__(self) -> str:
        if self.scheme == "qemu":
            return LOCAL
        if self.scheme == "test":
            return TEST
        if self.scheme == "sim":
            return f"sim://{self.host}/"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{user}{host}{port}/system"


def parse_host_uri(text: str, *, allowed: frozenset[str] = SAFE_SCHEMES) -> HostURI:
    """Parse a host's address.

    Accepted: `qemu:///system`, `qemu+tls://host[:port]/system`, `qemu+ssh://[user@]host[:port]/system`, and,
    when `allowed` has their scheme, `qemu+tcp://host[:port]/system`, `sim://name/`, `test:///default`.

    Raises InvalidHostURI for anything else, without opening, resolving or running anything.
    """
    if not isinstance(text, str) or not text or len(text) > 300:
        raise InvalidHostURI("A host address is a text of 1 to 300 characters.")
    if not text.isascii() or any(ch.isspace() or not ch.isprintable() for ch in text):
        raise InvalidHostURI("A host address has only printable ASCII characters and no spaces.")
    scheme = text.partition(":")[0]
    if scheme not in ALL_SCHEMES:
        raise InvalidHostURI(f"The transport is not one of {', '.join(sorted(allowed))}.")
    if scheme not in allowed:
        raise InvalidHostURI(f"The transport {scheme} is not allowed by this installation's settings.")
    if "?" in text or "#" in text or "%" in text or "\\" in text:
        raise InvalidHostURI("A host address has no parameters, fragment or escapes.")
    if scheme in ("qemu", "test"):
        wanted = LOCAL if scheme == "qemu" else TEST
        if text != wanted:
            raise InvalidHostURI(f"The only accepted {scheme} address is {wanted}.")
        return HostURI(scheme)
    return _parse_remote(scheme, text)


def _parse_remote(scheme: str, text: str) -> HostURI:
    shape = _REMOTE.match(text)
    if shape is None:
        raise InvalidHostURI(f"A {scheme} address is {_SHAPES[scheme]}, and no more.")
    user, address, name, digits = shape.group("user", "address", "name", "port")
    if scheme == "sim" and (digits is not None or address is not None):
        raise InvalidHostURI("A simulated host has a plain name and no port.")
    if shape["path"] != "/system" and not (scheme == "sim" and shape["path"] in (None, "/")):
        raise InvalidHostURI(f"A {scheme} address is {_SHAPES[scheme]}, and no more.")
    if user is not None and scheme != "qemu+ssh":
        raise InvalidHostURI("Only qemu+ssh addresses have a user.")
    if user is not None and not _USER.match(user):
        raise InvalidHostURI("The user is not a plain lower-case account name, or has a password.")
    port = int(digits) if digits is not None else None
    if port is not None and not 1 <= port <= 65535:
        raise InvalidHostURI("The port is between 1 and 65535.")
    host = _valid_address(address) if address is not None else _valid_name(name.lower())
    return HostURI(scheme, host, port, user or "")


def _valid_address(text: str) -> str:
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidHostURI("The host is not a valid IP address.") from error
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    for one in (address, mapped) if mapped else (address,):
        # Link-local has the clouds' metadata service; the others name no single machine.
        if one.is_unspecified or one.is_multicast or one.is_link_local or str(one) == _BROADCAST:
            raise InvalidHostURI("The host's IP address does not name one machine of a network.")
    return str(address)


def _valid_name(host: str) -> str:
    labels = host.split(".")
    if _NUMBER.match(labels[-1]):
        # Resolvers read "2130706433", "0x7f.1" and "127.1" as IPv4 addresses, each in its own way
        # (inet_aton(3)); only the plain dotted form is an address here.
        if len(labels) == 4 and all(label.isdigit() for label in labels):
            return _valid_address(host)
        raise InvalidHostURI("The host is not a valid IPv4 address.")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise InvalidHostURI("The host is neither a host name nor an IP address.")
    return host
