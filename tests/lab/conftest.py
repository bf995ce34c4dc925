"""The real estate for tests: two libvirt hosts with real guests, and Slipway's processes on the test's database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from access.gate import SYSTEM
from access.models import User
from audit.verify import verify
from hypervisor import pool
from hypervisor.connect import connect
from hypervisor.errors import AgentUnavailable, GuestNotFound, OperationTimeout
from hypervisor.protocol import Hypervisor
from hypervisor.types import ExecResult, PowerState
from inventory.models import VM, Host, Segment
from inventory.services.hosts import cluster_create, host_create
from inventory.syncing import host_sync
from jobs.models import Job
from jobs.services import job_submit
from lab.estate import Lab
from lab.host import Host as LabHost
from lab.virsh import virsh
from tests import factories as make
from tests.labs import lab_named
from tests.stack import Stack, until

FINAL = {"succeeded", "failed", "errored", "cancelled"}


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two hosts with a Debian guest and a tiny one, torn down at the end."""
    if os.geteuid() != 0 or shutil.which("libvirtd") is None:
        pytest.fail("The lab needs root and libvirt; run script/test, which installs them, or leave tests/lab out.")
    estate = lab_named("tests")
    estate.down()
    try:
        estate.up([])
        estate.add_guest("small", "tiny", 1)
        yield estate
    finally:
        estate.down()


@pytest.fixture(scope="session")
def debian(lab: Lab) -> str:
    """A Debian guest with an agent; its name."""
    lab.add_guest("ledger", "debian", 1)
    return "ledger"


@dataclass
class Site:
    """An installation that knows the lab."""

    lab: Lab
    stack: Stack
    hosts: list[Host]
    segment: Segment
    user: User

    def submit(self, operation: str, vm: VM, **params: Any) -> Job:
        """Submit a job as the user."""
        return job_submit(actor=self.user, operation=operation, target=VM.objects.get(pk=vm.pk), params=params)

    def ended(self, job: Job, *, seconds: float = 300) -> Job:
        """Wait for the job's end."""
        until(lambda: state_of(job) in FINAL, seconds=seconds, what=f"the end of {job}")
        job.refresh_from_db()
        return job

    def do(self, operation: str, vm: VM, **params: Any) -> Job:
        """Submit and wait."""
        return self.ended(self.submit(operation, vm, **params))

    def on(self, host: Host) -> Hypervisor:
        """A connection of the test's own."""
        return connect(host.uri)

    def ready(self, name: str, host: str = "host1") -> VM:
        """The VM, once the watcher has seen it running on that host; put into the site's segment."""

        def found() -> VM | None:
            running = VM.objects.filter(name=name, power_state="running", missing_since=None, host__name=host)
            return running.exclude(definition_observed_at=None).first()

        vm = until(found, what=f"{name} in the inventory")
        VM.objects.filter(pk=vm.pk).update(segment=self.segment)
        vm.refresh_from_db()
        return vm

    def record_is_whole(self) -> None:
        """The audit chain verifies, with everything sealed."""

        def sealed() -> bool:
            report = verify()
            assert report.ok, report.first_break
            return report.unsealed == 0

        until(sealed, what="the sealing of all events")

    def runs_on(self, vm: VM) -> list[str]:
        """Names of the hosts that run the VM, asked of libvirt itself."""
        found = []
        for host in self.hosts:
            connection = self.on(host)
            try:
                if connection.guest_state(str(vm.uuid)).state is PowerState.RUNNING:
                    found.append(host.name)
            except GuestNotFound:
                pass
            finally:
                connection.close()
        return found

    def in_guest(self, vm: VM, *argv: str) -> str:
        """What a program says in the guest, once its agent answers."""
        connection = self.on(next(host for host in self.hosts if host.name == self.runs_on(vm)[0]))

        def asked() -> ExecResult | None:
            try:
                return connection.agent_exec(str(vm.uuid), argv)
            except (AgentUnavailable, OperationTimeout):
                return None

        try:
            return str(until(asked, what="the guest's answer").stdout.decode()).strip()
        finally:
            connection.close()

    def snapshots(self, vm: VM, host: str) -> set[str]:
        """The VM's snapshots, asked of libvirt itself."""
        connection = self.on(next(one for one in self.hosts if one.name == host))
        try:
            return {snapshot.name for snapshot in connection.list_snapshots(str(vm.uuid))}
        finally:
            connection.close()


def state_of(job: Job) -> str:
    """The job's state now."""
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


@pytest.fixture
def site(lab: Lab, transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Slipway with the lab's hosts enrolled, its processes running, and a maintainer."""
    from django.conf import settings

    Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE).unlink(missing_ok=True)  # of a record that the last test emptied
    monkeypatch.setattr(settings, "SLIPWAY_HOST_SCHEMES", frozenset({"qemu+tcp", "qemu+tls"}))
    facts = lab.status()
    environment = {"SLIPWAY_HOST_SCHEMES": "qemu+tcp,qemu+tls"}
    if facts["pki"]:
        environment["SLIPWAY_PKI_DIR"] = facts["pki"]
        monkeypatch.setenv("SLIPWAY_PKI_DIR", facts["pki"])
    declared = {"shared_storage": True, "encrypted_migrations": bool(facts["pki"])}
    cluster = cluster_create(actor=SYSTEM, name="lab", **declared)
    hosts = [host_create(actor=SYSTEM, name=one["name"], uri=one["uri"], cluster=cluster) for one in facts["hosts"]]
    for host in hosts:
        host_sync(host, slow=True)
    segment = make.segment()
    VM.objects.update(segment=segment)
    user = make.user_with("maintainer", segment)
    make.grant(user, "placement", cluster)
    try:
        with Stack(tmp_path, environment) as stack:
            _use_broker(stack.broker, monkeypatch)
            stack.start_all()
            yield Site(lab, stack, hosts, segment, user)
    finally:
        for host, name in canaries(lab):  # of a flight that the end of the processes cut off; its job is forgotten
            virsh(host.uri, "destroy", name)
    pool.close_idle()


def canaries(lab: Lab) -> list[tuple[LabHost, str]]:
    """The canaries on any host, asked of libvirt itself."""
    found = [(host, name) for host in lab.hosts() for name in virsh(host.uri, "list", "--all", "--name").split()]
    return [(host, name) for host, name in found if name.startswith("slipway-canary-")]


def _use_broker(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process's nudges go where the stack's worker listens."""
    from portal.celery import app

    monkeypatch.setattr(app.conf, "broker_url", url)
    monkeypatch.setattr(app.conf, "broker_write_url", url)
    monkeypatch.setattr(app.conf, "broker_read_url", url)
    app.amqp.__dict__.pop("_producer_pool", None)
    app.__dict__.pop("pool", None)
