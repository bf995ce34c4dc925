"""Host addresses: what is accepted, what is refused, and that nothing but the accepted shapes ever comes out."""

from __future__ import annotations

import ipaddress
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor.uri import ALL_SCHEMES, SAFE_SCHEMES, HostURI, InvalidHostURI, parse_host_uri

CORPUS = Path(__file__).parent / "data" / "hostile_uris.txt"
REMOTE = ("qemu+tls", "qemu+ssh", "qemu+tcp")

#: All that may ever be handed to libvirt.
SHAPE = re.compile(
    r"qemu:///system|test:///default|sim://[a-z0-9.-]+/|sim://[0-9.]+/"
    r"|qemu\+(tls|tcp)://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?/system"
    r"|qemu\+ssh://([a-z_][a-z0-9_-]*@)?([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?/system"
)


def parse(text: str) -> HostURI:
    """With all schemes allowed."""
    return parse_host_uri(text, allowed=ALL_SCHEMES)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("qemu:///system", HostURI("qemu")),
        ("test:///default", HostURI("test")),
        ("sim://host-1/", HostURI("sim", "host-1")),
        ("sim://host-1", HostURI("sim", "host-1")),
        ("qemu+tls://kvm1.example.org/system", HostURI("qemu+tls", "kvm1.example.org")),
        ("qemu+tls://KVM1.Example.org/system", HostURI("qemu+tls", "kvm1.example.org")),
        ("qemu+tls://kvm1:16514/system", HostURI("qemu+tls", "kvm1", 16514)),
        ("qemu+ssh://kvm1/system", HostURI("qemu+ssh", "kvm1")),
        ("qemu+ssh://root@kvm1:22/system", HostURI("qemu+ssh", "kvm1", 22, "root")),
        ("qemu+ssh://slip_way-1@10.0.0.7/system", HostURI("qemu+ssh", "10.0.0.7", None, "slip_way-1")),
        ("qemu+tcp://10.111.38.11/system", HostURI("qemu+tcp", "10.111.38.11")),
        ("qemu+tcp://127.0.0.1/system", HostURI("qemu+tcp", "127.0.0.1")),
        ("qemu+tls://[2001:DB8::1]:16514/system", HostURI("qemu+tls", "2001:db8::1", 16514)),
        ("qemu+tls://[::1]/system", HostURI("qemu+tls", "::1")),
        ("qemu+tls://7up.example.org/system", HostURI("qemu+tls", "7up.example.org")),
    ],
)
def test_an_accepted_address_has_its_parts(text: str, parts: HostURI) -> None:
    assert parse(text) == parts
    assert parse(str(parts)) == parts


def test_without_a_setting_only_the_safe_transports_are_allowed() -> None:
    assert {"qemu", "qemu+tls", "qemu+ssh"} == SAFE_SCHEMES
    for text in ("qemu+tcp://kvm1/system", "sim://a/", "test:///default"):
        with pytest.raises(InvalidHostURI, match="not allowed by this installation"):
            parse_host_uri(text)


def _payloads() -> list[str]:
    """What has run programs, opened sockets or read files through libvirt, and its relatives."""
    parameters = [
        *("command=/tmp/x", "command=sh", "netcat=/tmp/x", "socket=/run/docker.sock", "keyfile=/etc/shadow"),
        *("no_verify=1", "no_tty=0", "pkipath=/tmp", "proxy=netcat", "known_hosts=/dev/null", "mode=legacy"),
        *("known_hosts_verify=ignore", "sshauth=agent", "tls_priority=NONE", "name=qemu:///system", "x=1", ""),
    ]
    paths = ["/", "/session", "/system/", "/system//", "//system", "/System", "/etc/passwd", "/system;x", "/../system"]
    return [f"/system{mark}{one}" for mark in "?#&;" for one in parameters] + paths


def _hosts() -> list[str]:
    return [
        *("", ".", "..", "a..b", ".a", "a.", "-a", "a-", "-oProxyCommand=sh", "a_b", "a b", "a\tb", "a\nb", "a%2eb"),
        *("a/b", "a\\b", "a;b", "a|b", "a&b", "$(id)", "`id`", "a'b", 'a"b', "<a>", "a,b", "*", "ä", "a\u200bb"),
        *("a\x00b", "x" * 64, "a." * 130 + "a", "2130706433", "0x7f000001", "0x7f.1", "127.1", "127.0.0.01", "1.2.3"),
        *("1.2.3.4.5", "256.1.1.1", "a.0x1", "a.1", "[", "]", "[]", "[::1", "::1]", "[::1]x", "x[::1]", "[::g]"),
        *("[fe80::1%eth0]", "[fe80::1%25eth0]", "[v1.a]", "[a]", "[1::2::3]", "0.0.0.0", "[::]", "224.0.0.1"),  # noqa: S104
        *("169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "[ff02::1]", "255.255.255.255"),
        *("h/system?command=/tmp/x&x=", "h/system?command=/tmp/x#", "u@h@evil", "h:22@evil", "h\\@evil"),
    ]


def _users() -> list[str]:
    return [
        *("@", ":@", "u:@", "u:p@", "-o@", "Root@", "a b@", "$(id)@", "u%40h@", "u;x@", "u/@", "ü@", "u" * 33 + "@"),
        *("1u@", "u'@", "[@", "u\n@", "u@v@"),
    ]


def hostile() -> list[str]:
    """The corpus: what the file has, and every combination of the parts above."""
    texts = [line for line in CORPUS.read_text().splitlines() if line and not line.startswith("## ")]
    texts += [f"{scheme}://h{payload}" for scheme in REMOTE for payload in _payloads()]
    texts += [f"{scheme}://{host}/system" for scheme in REMOTE for host in _hosts()]
    texts += [f"qemu+ssh://{host}:22/system" for host in _hosts()]
    texts += [f"qemu+ssh://root@{host}/system" for host in _hosts()]
    texts += [f"qemu+ssh://{user}h/system" for user in _users()]
    texts += [f"{scheme}://root@h/system" for scheme in ("qemu+tls", "qemu+tcp", "sim")]
    ports = ("", "0", "65536", "99999", "100000", "-1", "+22", "1_0", "0x16", "22 ", "٢٢", "22:23", "22a", "1e3")
    texts += [f"{scheme}://h:{port}/system" for scheme in REMOTE for port in ports]
    drivers = ("qemu", "test", "remote", "esx", "xen", "lxc", "ch", "bhyve", "vbox", "hyperv", "vz", "openvz", "QEMU")
    transports = ("", "+ext", "+unix", "+ssh", "+libssh", "+libssh2", "+tcp", "+tls", "+TLS", "+tls+tls", "+")
    for driver, transport in itertools.product(drivers, transports):
        scheme = driver + transport
        texts += [f"{scheme}:///system?command=/tmp/x", f"{scheme}://h/system?socket=/x", f"{scheme}:///etc/passwd"]
        if scheme not in ALL_SCHEMES:
            texts += [f"{scheme}://h/system", f"{scheme}:///system"]
    return texts


def test_the_corpus_is_large() -> None:
    assert len(set(hostile())) >= 1000


def test_every_hostile_address_is_refused() -> None:
    accepted, reasons = [], set()
    for text in hostile():
        try:
            accepted.append((text, str(parse(text))))
        except InvalidHostURI as error:
            reasons.add(str(error))
    assert accepted == []
    assert all(reason.endswith(".") for reason in reasons)
    assert not any("/tmp/x" in reason for reason in reasons)  # a reason does not repeat the text


@pytest.mark.parametrize("value", [None, 5, b"qemu:///system", ["qemu:///system"], object()])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidHostURI):
        parse(value)  # type: ignore[arg-type]


def test_nothing_is_run_opened_or_looked_up() -> None:
    """In a process in which that is an error."""
    script = (
        "import sys\n"
        "from tests.hypervisor.test_uri import hostile, parse\n"
        "from hypervisor.uri import InvalidHostURI\n"
        "texts = hostile() + ['qemu+ssh://root@kvm1.example.org/system', 'qemu+tls://[::1]/system']\n"
        "def hook(event, args):\n"
        "    if event.split('.')[0] in ('socket', 'subprocess', 'os', 'open', 'import', 'ctypes'):\n"
        "        raise SystemExit(f'{event} {args}')\n"
        "sys.addaudithook(hook)\n"
        "for text in texts:\n"
        "    try:\n"
        "        parse(text)\n"
        "    except InvalidHostURI:\n"
        "        pass\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


ALPHABET = "qemu+tlsshcp:/?#@[].-_%0123456789abfx \\&=;$`'\"<>\n\té"


@settings(max_examples=500)
@given(st.text(ALPHABET, max_size=60) | st.text(max_size=40))
def test_any_text_is_refused_or_comes_out_in_an_accepted_shape(text: str) -> None:
    try:
        result = str(parse(text))
    except InvalidHostURI:
        return
    assert SHAPE.fullmatch(result)
    assert str(parse(result)) == result


@settings(max_examples=500)
@given(st.sampled_from(sorted(ALL_SCHEMES)), st.text(ALPHABET, max_size=40))
def test_any_text_behind_an_accepted_scheme(scheme: str, rest: str) -> None:
    try:
        result = str(parse(f"{scheme}://{rest}"))
    except InvalidHostURI:
        return
    assert SHAPE.fullmatch(result)
    assert str(parse(result)) == result


labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=5).map(".".join)
addresses = st.ip_addresses().filter(
    lambda one: not (one.is_unspecified or one.is_multicast or one.is_link_local or one.is_reserved)
)


@given(st.sampled_from(REMOTE), names, st.none() | st.integers(1, 65535))
def test_every_host_name_comes_back(scheme: str, host: str, port: int | None) -> None:
    uri = HostURI(scheme, host, port)
    assert parse(str(uri)) == uri


@given(st.sampled_from(REMOTE), addresses, st.none() | st.integers(1, 65535))
def test_every_address_of_a_machine_comes_back(
    scheme: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int | None
) -> None:
    uri = HostURI(scheme, str(address), port)
    assert parse(str(uri)) == uri
