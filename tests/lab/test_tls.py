"""A lab with certificates: Slipway speaks to its hosts, they to each other and their QEMUs to each other over TLS.

That a stream is encrypted is seen on the wire: a migration's stream begins with QEMU's own mark unless it is, and with
a TLS handshake if it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from access.gate import SYSTEM
from hypervisor.connect import connect
from hypervisor.errors import HypervisorError
from inventory.models import Cluster, Host, HostPair
from jobs.models import Job
from jobs.services import job_submit
from jobs.states import State
from lab import network
from lab.estate import Lab
from tests.lab.conftest import Site
from tests.labs import lab_named

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

#: QEMU_VM_FILE_MAGIC (migration/savevm.c), and the first bytes of a TLS record with a handshake (RFC 8446, 5.1).
PLAIN, HANDSHAKE = "5145564d", "1603"

#: Prints the first bytes of every TCP stream to the ports that libvirt gives to migrations, of IPv4 frames. It taps all
#: kinds of frames: a bridge keeps those that it forwards from who asks for IPv4 alone.
LISTENER = r"""
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print("listening", flush=True)
seen = set()
while True:
    frame = wire.recv(65535)
    tcp = 14 + (frame[14] & 15) * 4
    if frame[12:14] != b"\x08\x00" or frame[23] != 6 or len(frame) < tcp + 20:
        continue
    ports = frame[tcp:tcp + 4]
    length = int.from_bytes(frame[16:18], "big") - (tcp - 14)
    data = frame[tcp + (frame[tcp + 12] >> 4) * 4:tcp + length]
    if 49152 <= int.from_bytes(ports[2:], "big") <= 49215 and data and ports not in seen:
        seen.add(ports)
        print(data[:4].hex(), flush=True)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts with certificates and a tiny guest."""
    if os.geteuid() != 0 or shutil.which("libvirtd") is None:
        pytest.fail("The lab needs root and libvirt; run script/test, which installs them, or leave tests/lab out.")
    estate = lab_named("tls")
    estate.down()
    try:
        estate.up([], tls=True)
        estate.add_guest("small", "tiny", 1)
        yield estate
    finally:
        estate.down()


@contextmanager
def beginnings(lab: Lab) -> Iterator[list[str]]:
    """The first four bytes, in hexadecimal, of each migration's stream in the block; complete when it has ended."""
    inside = ["ip", "netns", "exec", network.switch_namespace(lab.state()), sys.executable, "-c", LISTENER]
    found: list[str] = []
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listening\n"
        try:
            yield found
        finally:
            listener.kill()
            found += listener.stdout.read().split()


def prove(site: Site) -> Job:
    return site.ended(job_submit(actor=SYSTEM, operation="host.prove_paths", target=Host.objects.get(name="host1")))


def test_everything_goes_over_tls_and_the_stream_is_encrypted(site: Site) -> None:
    assert {host.scheme for host in site.hosts} == {"qemu+tls"}
    assert Cluster.objects.get().encrypted_migrations
    vm = site.ready("small")
    with beginnings(site.lab) as seen:
        proved = prove(site)
        assert proved.state == State.SUCCEEDED, (proved.error_message, proved.traceback)
        moved = site.do("vm.migrate", vm)
        assert moved.state == State.SUCCEEDED, (moved.error_message, moved.traceback)
    assert site.runs_on(vm) == ["host2"]
    assert len(seen) >= 3  # two canaries and the VM
    assert {first[:4] for first in seen} == {HANDSHAKE}
    Cluster.objects.update(encrypted_migrations=False)  # the same wire without: this is how it would look
    with beginnings(site.lab) as seen:
        back = site.do("vm.migrate", vm)
        assert back.state == State.SUCCEEDED, (back.error_message, back.traceback)
    assert set(seen) == {PLAIN}


def test_a_host_without_its_certificate_is_found_by_the_canary(site: Site) -> None:
    certificate = site.lab.places.host("host2") / "pki" / "qemu" / "server-cert.pem"
    hidden = certificate.rename(certificate.with_suffix(".away"))
    try:
        job = prove(site)
    finally:
        hidden.rename(certificate)
    assert (job.state, job.error_code) == (State.FAILED, "path_broken"), job.error_message
    assert HostPair.objects.broken().filter(source__name="host1", destination__name="host2").exists()
    again = prove(site)
    assert again.state == State.SUCCEEDED, again.error_message


def test_without_a_certificate_of_its_own_nobody_gets_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_PKI_DIR")
    with pytest.raises(HypervisorError):
        connect(site.hosts[0].uri)
