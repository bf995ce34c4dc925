"""A guest whose disk is on its host alone moves to another host with it, and what is on the disk is there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from inventory.models import VM, Cluster, Leftover
from jobs.leftovers import remove_due
from jobs.models import Job, Step
from jobs.services import job_cancel
from jobs.states import State
from lab.host import Host as LabHost
from lab.virsh import virsh
from tests.lab.conftest import Site
from tests.stack import until

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

#: The same path on both hosts, and each host's own directory: libvirt's directories are private in the lab.
OWN = "/var/lib/libvirt/local"


def image(host: LabHost) -> Path:
    """The disk's file on a host, as this machine sees it."""
    return host.directory / "lib" / "local" / "own.qcow2"


@pytest.fixture
def own(site: Site, tmp_path: Path) -> Iterator[VM]:
    """A guest like `small` on host1, whose disk of 64 MiB is on host1 alone and has 8 MiB of known bytes in it."""
    Cluster.objects.update(shared_storage=False)
    first = site.lab.host("host1")
    like = next(host for host in site.lab.hosts() if "small" in virsh(host.uri, "list", "--all", "--name").split())
    xml = virsh(like.uri, "dumpxml", "--inactive", "--migratable", "small")
    for host in site.lab.hosts():
        virsh(host.uri, "pool-create-as", "local", "dir", "--target", OWN, "--build")
    raw = tmp_path / "own.raw"
    with raw.open("wb") as file:
        file.write(bytes(range(256)) * 4096 * 8)
        file.truncate(64 * 1024**2)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(image(first))], check=True)
    xml = re.sub(r"<uuid>.*?</uuid>|<mac .*?/>|<log .*?/>", "", xml.replace("<name>small<", "<name>own<"))
    xml = re.sub(r"<source file='[^']*'/>(?=\s*<target dev='vda')", f"<source file='{OWN}/own.qcow2'/>", xml)
    assert f"{OWN}/own.qcow2" in xml
    (tmp_path / "own.xml").write_text(xml)
    virsh(first.uri, "define", str(tmp_path / "own.xml"))
    virsh(first.uri, "start", "own")
    yield site.ready("own")
    for host in site.lab.hosts():
        if "own" in virsh(host.uri, "list", "--all", "--name").split():
            virsh(host.uri, "destroy", "own")
            virsh(host.uri, "undefine", "own")
        virsh(host.uri, "pool-destroy", "local")
        image(host).unlink(missing_ok=True)


def has_the_bytes(path: Path, tmp_path: Path) -> bool:
    """Whether an image that nobody writes to has the known bytes at its beginning."""
    plain = tmp_path / "read-back.raw"
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", str(path), str(plain)], check=True)
    with plain.open("rb") as file:
        return file.read(8 * 1024**2) == bytes(range(256)) * 4096 * 8


def test_a_local_disk_travels_along_and_its_old_file_goes_later(site: Site, own: VM, tmp_path: Path) -> None:
    refused = site.do("vm.migrate", own)
    assert (refused.state, refused.error_code) == (State.FAILED, "storage_not_shared"), refused.error_message
    first, second = site.lab.host("host1"), site.lab.host("host2")
    assert not image(second).exists()
    job = site.do("vm.migrate", own, copy_disks=True)
    assert job.state == State.SUCCEEDED, (job.error_message, job.traceback)
    assert site.runs_on(own) == ["host2"]
    assert Step.objects.get(job=job, name="copying").detail == "1 disks, 0.1 GiB"
    assert has_the_bytes(image(second), tmp_path)
    assert image(first).exists()
    leftover = Leftover.objects.get()
    assert (leftover.host.name, leftover.path) == ("host1", f"{OWN}/own.qcow2")
    Leftover.objects.update(remove_after=timezone.now())
    remove_due()
    until(lambda: not image(first).exists(), seconds=150, what="the removal of the old file")  # see onlookers.py
    removal = site.ended(Job.objects.get(operation="host.remove_leftovers"))
    assert removal.result == {"removed": 1, "kept": 0}
    assert site.runs_on(own) == ["host2"]
    assert has_the_bytes(image(second), tmp_path)


def test_a_copy_that_is_cancelled_leaves_nothing_at_the_destination(site: Site, own: VM, tmp_path: Path) -> None:
    job = site.submit("vm.migrate", own, copy_disks=True, bandwidth_mib=4)
    until(lambda: Job.objects.get(pk=job.pk).phase == "disk copy", what="the copying of the disk")
    job_cancel(actor=site.user, job=Job.objects.get(pk=job.pk))
    job = site.ended(job)
    assert job.state == State.CANCELLED, (job.error_message, job.traceback)
    assert site.runs_on(own) == ["host1"]
    assert not image(site.lab.host("host2")).exists()
    assert has_the_bytes(image(site.lab.host("host1")), tmp_path)
    assert not Leftover.objects.exists()
