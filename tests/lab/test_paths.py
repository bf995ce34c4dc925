"""Canaries between real hosts: proved, broken on purpose, and never taken for a VM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from access.gate import SYSTEM
from inventory.models import VM, Cluster, Host, HostPair, SeenChange
from inventory.paths import path_between
from jobs.models import Job
from jobs.services import job_submit
from jobs.states import State
from lab.shell import run
from lab.virsh import virsh
from tests.lab.conftest import Site, canaries
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

#: Each way takes about two seconds; this is with a busy machine.
MOST_SECONDS = 15.0


def prove(site: Site) -> Job:
    return site.ended(job_submit(actor=SYSTEM, operation="host.prove_paths", target=Host.objects.get(name="host1")))


@pytest.fixture
def wall(site: Site) -> Iterator[None]:
    """host2 takes no migration streams: its firewall rejects their ports, and nothing else."""
    rule = ["INPUT", "-p", "tcp", "--dport", "49152:49215", "-j", "REJECT", "--reject-with", "tcp-reset"]
    inside = ["ip", "netns", "exec", site.lab.host("host2").netns]
    run(*inside, "iptables", "-I", *rule)
    yield
    run(*inside, "iptables", "-D", *rule)


def test_the_paths_of_real_hosts_are_proved(site: Site) -> None:
    job = prove(site)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.result["proved"] == 2
    one, two = site.hosts
    for pair in (path_between(one, two), path_between(two, one)):
        assert pair.ok
        assert pair.seconds is not None
        assert pair.seconds < MOST_SECONDS
    until(lambda: not canaries(site.lab), what="the last canary's end")
    assert not VM.objects.filter(name__startswith="slipway-canary-").exists()
    assert not SeenChange.objects.filter(vm__name__startswith="slipway-canary-").exists()
    site.record_is_whole()


def test_storage_is_shared_where_a_volume_made_there_is_seen_here(site: Site) -> None:
    """The hosts have two pools at the same paths: one directory is the same, the other is each host's own."""
    Cluster.objects.update(shared_storage=False)
    site.lab.reset_guest("small")
    vm = site.ready("small")
    refused = site.do("vm.migrate", vm)
    assert (refused.state, refused.error_code) == (State.FAILED, "storage_not_shared"), refused.error_message
    for host in site.lab.hosts():
        virsh(host.uri, "pool-create-as", "own", "dir", "--target", "/var/lib/libvirt/own", "--build")
    try:
        job = prove(site)
    finally:
        for host in site.lab.hosts():
            virsh(host.uri, "pool-destroy", "own")
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    store = str(site.lab.places.store)
    assert [pair.shared for pair in HostPair.objects.all()] == [[store], [store]]
    assert not list(site.lab.places.store.glob("slipway-*"))
    for _ in ("there", "and back"):
        moved = site.do("vm.migrate", vm)
        assert moved.state == State.SUCCEEDED, moved.error_message


def test_a_path_that_a_firewall_blocks_is_found_and_nothing_is_sent_that_way(site: Site, wall: None) -> None:
    job = prove(site)
    assert (job.state, job.error_code) == (State.FAILED, "path_broken"), job.error_message
    one, two = site.hosts
    assert path_between(one, two).is_broken
    assert path_between(two, one).ok
    until(lambda: not canaries(site.lab), what="the last canary's end")


def test_a_worker_killed_in_the_middle_leaves_no_canary(site: Site) -> None:
    job = job_submit(actor=SYSTEM, operation="host.prove_paths", target=Host.objects.get(name="host1"))
    until(lambda: canaries(site.lab), what="a canary")
    site.stack.kill("worker")
    site.stack.start_worker()
    job = site.ended(job)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert job.attempts > 1
    assert job.result["proved"] == 2
    until(lambda: not canaries(site.lab), what="the last canary's end")
