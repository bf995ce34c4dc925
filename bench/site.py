"""A lab and a whole Slipway beside it, for benchmarks that measure both."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bench.report import ROOT
from hypervisor.connect import connect
from hypervisor.protocol import Hypervisor
from hypervisor.types import EventKind, GuestEvent
from hypervisor.uri import ALL_SCHEMES, parse_host_uri
from lab.estate import Lab
from portal.demo.client import Api
from portal.demo.estate import discovered


class Observer:
    """Follows one guest's events on both hosts, from outside both arms."""

    def __init__(self, uuid: str, hosts: dict[str, Hypervisor]) -> None:
        self._uuid = uuid
        self._lock = threading.Lock()
        self._seen: list[tuple[str, EventKind, float]] = []
        self._subscriptions = [
            connection.watch(lambda event, host=name: self._take(host, event), lambda reason: None)  # type: ignore[misc]
            for name, connection in hosts.items()
        ]

    def stop(self) -> None:
        """Listen no longer."""
        for subscription in self._subscriptions:
            subscription.stop()

    def _take(self, host: str, event: GuestEvent) -> None:
        if event.uuid == self._uuid:
            with self._lock:
                self._seen.append((host, event.kind, event.monotonic))

    def wait(self, since: float, *kinds: EventKind, host: str, seconds: float = 60) -> None:
        """Wait until the guest announces one of these on that host. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self.last(since, *kinds, host=host) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"No {' or '.join(kinds)} from {host} within {seconds:.0f} s.")
            time.sleep(0.01)

    def last(self, since: float, *kinds: EventKind, host: str = "") -> float | None:
        """When the guest last announced one of these after `since` (seconds, monotonic)."""
        with self._lock:
            found = [at for name, kind, at in self._seen if at >= since and kind in kinds and host in ("", name)]
        return max(found, default=None)


@dataclass
class BenchSite:
    """Both arms' access to the same guest."""

    lab: Lab
    api: Api
    guest: str
    uuid: str
    vm: int
    uris: dict[str, str]
    hosts: dict[str, Hypervisor] = field(default_factory=dict)

    def with_guest(self, name: str, kind: str, **wish: Any) -> BenchSite:
        """Another guest of the lab as the subject, once Slipway knows it too."""
        self.lab.add_guest(name, kind, 1, **wish)
        vm = discovered(self.api, {name})[name]
        return replace(self, guest=name, uuid=vm["uuid"], vm=vm["id"])

    def address(self) -> str:
        """Where the guest answers."""
        return next(str(one["address"]) for one in self.lab.status()["guests"] if one["name"] == self.guest)

    def where(self) -> str:
        """The host that runs the guest."""
        for name, connection in self.hosts.items():
            if any(guest.uuid == self.uuid and guest.state == "running" for guest in connection.list_guests()):
                return name
        raise RuntimeError(f"{self.guest} runs nowhere")

    def virsh(self, host: str, *argv: str) -> None:
        """The anchor: the stock command line. Raises CalledProcessError."""
        subprocess.run(["virsh", "-q", "-c", self.uris[host], *argv], check=True, capture_output=True)

    def seen_at(self, host: str) -> float:
        """Wait until the API says that the guest runs on that host; the moment it did (monotonic). Raises
        TimeoutError.
        """
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            vm = self.api.get(f"vms/{self.vm}/")
            if vm["power_state"] == "running" and vm["host"]["name"] == host:
                return time.monotonic()
            time.sleep(0.005)
        raise TimeoutError(f"Slipway does not see {self.guest} on {host}")

    def settled(self, host: str) -> None:
        """Wait until Slipway too sees the guest running on that host, and idle."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            vm = self.api.get(f"vms/{self.vm}/")
            if vm["power_state"] == "running" and vm["host"]["name"] == host and not vm["busy_job"]:
                return
            time.sleep(0.05)
        raise TimeoutError(f"Slipway does not see {self.guest} on {host}")


@contextmanager
def bench_site(kind: str = "tiny") -> Iterator[BenchSite]:
    """Bring up two hosts with one guest, and all of Slipway's processes with the embedded default."""
    lab = Lab("bench", ROOT / "var")
    data = ROOT / "var" / "bench-site"
    shutil.rmtree(data, ignore_errors=True)
    lab.down()
    server: subprocess.Popen[bytes] | None = None
    try:
        described = lab.up([])
        lab.add_guest("subject", kind, 1)
        described = lab.status()
        environment, url = _environment(str(data))
        data.mkdir(parents=True)
        with (data / "server.log").open("wb") as log:
            argv = [sys.executable, "manage.py", "serve"]
            server = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log)
        _wait(f"{url}/readyz")
        token = subprocess.run(
            [sys.executable, "manage.py", "token_create", "admin"],
            cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        api = Api(url, token)
        cluster = api.post("clusters/", {"name": "bench", "shared_storage": True})["id"]
        for host in described["hosts"]:
            api.post("hosts/", {"name": host["name"], "uri": host["uri"], "cluster": cluster})
        vm = discovered(api, {"subject"})["subject"]
        uris = {host["name"]: host["uri"] for host in described["hosts"]}
        connections = {name: connect(parse_host_uri(uri, allowed=ALL_SCHEMES)) for name, uri in uris.items()}
        yield BenchSite(lab, api, "subject", vm["uuid"], vm["id"], uris, connections)
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        lab.down()


def _environment(data: str) -> tuple[dict[str, str], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    changes = {"SLIPWAY_DATA_DIR": data, "SLIPWAY_BASE_URL": url, "SLIPWAY_HOST_SCHEMES": "qemu+tcp"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    return {**kept, **changes}, url


def _wait(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2)  # noqa: S310 - our own loopback address
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"{url} does not answer")


def engine(site: BenchSite) -> dict[str, Any]:
    """Versions of what was measured."""
    facts = next(iter(site.hosts.values())).describe_host()
    return {
        "libvirt": ".".join(map(str, facts.library_version)),
        "qemu": ".".join(map(str, facts.hypervisor_version)),
        "accelerator": "software emulation",
    }
