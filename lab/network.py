"""The lab's wires: one `switch` namespace with a bridge per network, a veth to each host and one outside.

The bridges are in a namespace of their own, because frames crossing a bridge of the outer namespace
would meet that machine's packet filter (Docker's, for one). The outer ends of the veths carry the
addresses from which the portal reaches hosts and guests; they do not forward, so a segment is not
reached from another through them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

from lab import names
from lab.processes import NETNS
from lab.shell import LabError, run, succeeds
from lab.state import State

#: Bytes that a rate limit lets through at once, and how long it queues (tc-tbf(8)).
_BURST_BYTES, _LATENCY = 256 * 1024, "50ms"


def switch_namespace(state: State) -> str:
    """The namespace with the bridges."""
    return f"{names.prefix(state.network)}-switch"


def host_namespace(state: State, index: int) -> str:
    """The namespace of a host."""
    return f"{names.prefix(state.network)}-{names.host_name(index)}"


def namespaces(state: State) -> list[str]:
    """All network namespaces of a lab, the switch last."""
    hosts = [host_namespace(state, index) for index in range(1, state.hosts + 1)]
    return [*hosts, switch_namespace(state)]


def outer_link(state: State, network: str) -> str:
    """The link in the outer namespace that leads to a network."""
    return f"{names.prefix(state.network)}-{network}"


def host_port(index: int, network: str) -> str:
    """The switch's end of the veth to a host."""
    return f"{names.host_name(index)}-{network}"


def bridge(segment: str) -> str:
    """The bridge inside each host that a segment's guests join."""
    return f"br-{segment}"


def free_subnet(name: str, taken: list[IPv4Network]) -> IPv4Network:
    """The first subnet for a lab of this name that neither another lab nor this machine uses.

    Raises LabError when there is none.
    """
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
    used = [*taken]
    for route in routes:
        with suppress(KeyError, ValueError):
            used.append(IPv4Network(route["dst"]))
    for subnet in names.subnet_candidates(name):
        held = any((NETNS / f"{names.prefix(subnet)}-{end}").exists() for end in ("switch", "host1"))
        if not held and not any(subnet.overlaps(other) for other in used if other.prefixlen > 0):
            return subnet
    raise LabError("no free subnet in 10.96.0.0/11")


def _note(lab: Path) -> str:
    """What the outer links of a lab are labelled with."""
    return f"slipway lab {lab}"[:255]


def recover(name: str, lab: Path) -> State | None:
    """A state good enough to take down the links of a lab whose own was lost; None without links."""
    noted = {
        link["ifname"] for link in json.loads(run("ip", "-json", "link", "show")) if link.get("ifalias") == _note(lab)
    }
    for subnet in names.subnet_candidates(name):
        if any(link.startswith(f"{names.prefix(subnet)}-") for link in noted):
            return State(name, str(subnet), names.MOST_HOSTS)
    return None


def _has_link(netns: str | None, link: str) -> bool:
    where = ("-netns", netns) if netns else ()
    return succeeds("ip", *where, "link", "show", "dev", link)


def _in(netns: str, *command: str) -> None:
    run("ip", "-netns", netns, *command)


def _add_namespace(netns: str) -> None:
    if not succeeds("ip", "netns", "exec", netns, "true"):
        # A crash between the two steps of `ip netns add` leaves a file that is no namespace.
        (NETNS / netns).unlink(missing_ok=True)
        run("ip", "netns", "add", netns)
    _in(netns, "link", "set", "lo", "up")


def _add_bridge(netns: str, link: str) -> None:
    if not _has_link(netns, link):
        _in(netns, "link", "add", link, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    _in(netns, "link", "set", link, "up")


def _join(switch: str, port: str, network: str) -> None:
    _in(switch, "link", "set", port, "master", bridge(network), "up")


def connect_switch(state: State, lab: Path) -> None:
    """Make the switch and its veths to the outer namespace, as far as they are missing.

    The lab's directory is noted on the outer links, so that they tell whose they are.
    """
    switch = switch_namespace(state)
    _add_namespace(switch)
    for network in names.NETWORKS:
        _add_bridge(switch, bridge(network))
        link, port = outer_link(state, network), f"outer-{network}"
        if not _has_link(None, link):
            run("ip", "link", "add", link, "type", "veth", "peer", "name", port, "netns", switch)
        _join(switch, port, network)
        run("ip", "link", "set", link, "alias", _note(lab))
        address = f"{names.outer_address(state.network, network)}/26"
        run("ip", "addr", "replace", address, "dev", link)
        run("ip", "link", "set", link, "up")
        Path(f"/proc/sys/net/ipv4/conf/{link}/forwarding").write_text("0")


def connect_host(state: State, index: int) -> None:
    """Make a host's namespace with its management link and segment bridges, as far as missing.

    A cut link (see `set_link`) is restored.
    """
    switch, netns = switch_namespace(state), host_namespace(state, index)
    _add_namespace(netns)
    for network in names.NETWORKS:
        port, inner = host_port(index, network), f"{network}0"
        if not _has_link(switch, port):
            _in(switch, "link", "add", port, "type", "veth", "peer", "name", inner, "netns", netns)
        _join(switch, port, network)
        if network == names.MANAGEMENT:
            address = f"{names.host_address(state.network, index)}/26"
            _in(netns, "addr", "replace", address, "dev", inner)
        else:
            _add_bridge(netns, bridge(network))
            _in(netns, "link", "set", inner, "master", bridge(network))
        _in(netns, "link", "set", inner, "up")


def set_link(state: State, index: int, *, up: bool) -> None:
    """Connect a host to all networks, or cut it off from them."""
    for network in names.NETWORKS:
        port = host_port(index, network)
        _in(switch_namespace(state), "link", "set", port, "up" if up else "down")


def set_rate(state: State, index: int, mib_per_second: float | None) -> None:
    """Limit what a host sends and receives on the management network; None lifts the limit."""
    ends = (
        (switch_namespace(state), host_port(index, names.MANAGEMENT)),
        (host_namespace(state, index), f"{names.MANAGEMENT}0"),
    )
    for netns, link in ends:
        tc = ("tc", "-netns", netns, "qdisc")
        if mib_per_second is None:
            # Without a limit there is nothing to remove, which tc calls an error.
            succeeds(*tc, "del", "dev", link, "root")
            continue
        bits = str(int(mib_per_second * 8 * 1024 * 1024))
        limit = ("rate", bits, "burst", str(_BURST_BYTES), "latency", _LATENCY)
        run(*tc, "replace", "dev", link, "root", "tbf", *limit)


def disconnect(state: State) -> None:
    """Remove links and namespaces; their processes must be gone. Missing ones are no error."""
    for network in names.NETWORKS:
        if _has_link(None, outer_link(state, network)):
            run("ip", "link", "del", outer_link(state, network))
    for netns in namespaces(state):
        if (NETNS / netns).exists() and not succeeds("ip", "netns", "del", netns):
            (NETNS / netns).unlink(missing_ok=True)
