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
from urllib.parse import urlsplit

REMOTE_SCHEMES = ("qemu+tls", "qemu+ssh", "qemu+tcp")
LOCAL = "qemu:///system"
TEST = "test:///default"
#: Schemes a production installation accepts; `qemu+tcp` (no encryption), `sim` and `test` need a setting.
SAFE_SCHEMES = frozenset({"qemu", "qemu+tls", "qemu+ssh"})
ALL_SCHEMES = SAFE_SCHEMES | {"qemu+tcp", "sim", "test"}

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z", re.ASCII)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z", re.ASCII)


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
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise InvalidHostURI(f"The host address cannot be read: {error}.") from error
    if parts.password is not None or (parts.username is not None and scheme != "qemu+ssh"):
        raise InvalidHostURI("Only qemu+ssh addresses have a user, and none has a password.")
    user = parts.username or ""
    if parts.username is not None and not _USER.match(user):
        raise InvalidHostURI("The user is not a plain lower-case account name.")
    path = "/system" if scheme in REMOTE_SCHEMES else "/"
    if parts.path != path and not (scheme == "sim" and parts.path == ""):
        raise InvalidHostURI(f"The path of a {scheme} address is {path}.")
    if scheme == "sim" and port is not None:
        raise InvalidHostURI("A simulated host has no port.")
    if port is not None and not 1 <= port <= 65535:
        raise InvalidHostURI("The port is between 1 and 65535.")
    if parts.netloc.endswith(":"):
        raise InvalidHostURI("The port is missing after the colon.")
    return HostURI(scheme, _valid_host(host), port, user)


def _valid_host(host: str) -> str:
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise InvalidHostURI("The host is not a valid IPv6 address.") from error
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise InvalidHostURI("The host is not a valid IPv4 address.") from error
    if not host or len(host) > 253 or not all(_LABEL.match(label) for label in host.split(".")):
        raise InvalidHostURI("The host is neither a host name nor an IP address.")
    return host
