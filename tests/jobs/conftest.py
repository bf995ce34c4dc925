"""A small simulated estate for the job engine: two hosts of one cluster, a running guest, and the rows to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from access.gate import SYSTEM
from access.models import User
from hypervisor import pool
from hypervisor.connect import connect
from hypervisor.simulated_driver import estate as simulated
from hypervisor.simulated_driver.definition import Config
from hypervisor.types import PowerState
from inventory.models import VM, Cluster, Host, Segment
from inventory.paths import path_between, path_observed
from inventory.services.hosts import cluster_create, host_create
from inventory.syncing import host_sync
from jobs.engine import runner
from jobs.models import Job
from jobs.operations.migrate import operation as migrate_operation
from jobs.services import job_submit
from tests import factories as make
from tests.jobs.reaper import Reaper

#: Simulated seconds in one; what a migration leaves to its call is as much shorter.
SPEED = 20


@dataclass
class Estate:
    """What the tests work on."""

    hosts: list[Host]
    cluster: Cluster
    segment: Segment
    vm: VM
    user: User

    def submit(self, operation: str, *, by: Any = None, **params: Any) -> Job:
        """Submit a job on the VM."""
        self.vm.refresh_from_db()
        return job_submit(actor=by or self.user, operation=operation, target=self.vm, params=params)

    def run(self, job: Job) -> Job:
        """Carry a job out here and now, as a worker would."""
        runner.run(job.pk)
        job.refresh_from_db()
        return job

    def do(self, operation: str, **params: Any) -> Job:
        """Submit and carry out."""
        return self.run(self.submit(operation, **params))

    def sync(self) -> None:
        """Read both hosts, slow lane included."""
        VM.objects.update(definition_observed_at=None)
        for host in self.hosts:
            host_sync(host, slow=True)
        self.vm.refresh_from_db()


@pytest.fixture
def estate(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    """Hosts `left` and `right`, a running guest on the left, and a user who may maintain it and place VMs."""
    monkeypatch.setenv("SLIPWAY_SIM_STATE", str(tmp_path / "simulator.sqlite3"))
    monkeypatch.setenv("SLIPWAY_SIM_SPEED", str(SPEED))
    monkeypatch.setattr(migrate_operation, "HEAD_START", migrate_operation.HEAD_START / SPEED)
    simulated.create_hosts([simulated.SimulatedHost(name, networks=("default",)) for name in ("left", "right")])
    uuid = simulated.create_guest("left", "ledger", memory_mib=1024, config=Config(agent_channel=True))
    cluster = cluster_create(actor=SYSTEM, name="main", shared_storage=True)
    hosts = [host_create(actor=SYSTEM, name=n, uri=f"sim://{n}/", cluster=cluster) for n in ("left", "right")]
    for host in hosts:
        host_sync(host, slow=True)
    segment = make.segment()
    VM.objects.update(segment=segment)
    user = make.user_with("maintainer", segment)
    make.grant(user, "placement", cluster)
    yield Estate(hosts, cluster, segment, VM.objects.get(uuid=uuid), user)
    pool.close_idle()


@dataclass
class Fleet:
    """Three hosts, the paths between which were proved; the first has guests of 1024 MiB. `operator` may do everything
    that a drain needs.
    """

    estate: Estate
    hosts: list[Host]
    operator: User

    @property
    def host(self) -> Host:
        return Host.objects.get(pk=self.hosts[0].pk)

    def add(self, name: str) -> None:
        """One more guest on the first host, in the segment once the hosts have been read."""
        simulated.create_guest("left", name, memory_mib=512)

    def drain(self, *, by: Any = None, **params: Any) -> Job:
        return job_submit(actor=by or self.operator, operation="host.drain", target=self.host, params=params)

    def activate(self, *, by: Any = None, **params: Any) -> Job:
        return job_submit(actor=by or self.operator, operation="host.activate", target=self.host, params=params)

    def sync(self) -> None:
        for host in self.hosts:
            host_sync(host, slow=True)

    def running_on(self) -> dict[str, list[str]]:
        """By the hosts themselves: host -> names of what runs there."""
        return {
            host.name: sorted(
                guest.name for guest in connect(host.uri).list_guests() if guest.state is PowerState.RUNNING
            )
            for host in self.hosts
        }


@pytest.fixture
def fleet(estate: Estate) -> Fleet:
    for number in range(1, 5):
        simulated.create_guest("left", f"web-{number}", memory_mib=1024)
    simulated.create_hosts([simulated.SimulatedHost("third", networks=("default",))])
    hosts = [*estate.hosts, host_create(actor=SYSTEM, name="third", uri="sim://third/", cluster=estate.cluster)]
    found = Fleet(estate, hosts, make.user_with("platform-operator"))
    found.sync()
    VM.objects.update(segment=estate.segment)
    for source, destination in permutations(hosts, 2):
        path_observed(path_between(source, destination), ok=True, seconds=1.5)
    return found


@pytest.fixture
def apart(estate: Estate) -> Host:
    """A host of the same cluster that does not see the files of `left` and `right`, which see the same."""
    simulated.create_hosts([simulated.SimulatedHost("apart", cluster="elsewhere", networks=("default",))])
    host = host_create(actor=SYSTEM, name="apart", uri="sim://apart/", cluster=estate.cluster)
    Cluster.objects.update(shared_storage=False)
    host_sync(host)
    return host


@pytest.fixture
def reaper(monkeypatch: pytest.MonkeyPatch) -> Reaper:
    """Lets a worker die at the point that is due."""
    return Reaper(monkeypatch)
