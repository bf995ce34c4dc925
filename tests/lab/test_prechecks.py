"""What real hosts say against a migration before anything is touched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inventory.models import VM
from jobs.models import Step
from jobs.states import State
from lab.virsh import virsh
from tests.lab.conftest import Site

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

ONLY_HERE = "<filter name='only-here' chain='root'/>"


@pytest.fixture
def odd(site: Site, tmp_path: Path) -> Iterator[Callable[..., VM]]:
    """Makes a guest like `small` with something replaced in its definition, without a disk, running on host1."""
    uri = site.lab.host("host1").uri
    site.lab.reset_guest("small")

    def make(pattern: str, replacement: str) -> VM:
        xml = virsh(uri, "dumpxml", "--inactive", "--migratable", "small")
        xml = re.sub(r"<disk .*?</disk>|<uuid>.*?</uuid>|<mac .*?/>|<log .*?/>", "", xml, flags=re.DOTALL)
        xml, count = re.subn(pattern, replacement, xml.replace("<name>small<", "<name>odd<"), count=1)
        assert count == 1, xml
        (tmp_path / "odd.xml").write_text(xml)
        virsh(uri, "define", str(tmp_path / "odd.xml"))
        virsh(uri, "start", "odd")
        return site.ready("odd")

    yield make
    virsh(uri, "destroy", "odd")
    virsh(uri, "undefine", "odd")


def test_a_network_filter_that_only_the_source_has_is_missed(
    site: Site, odd: Callable[..., VM], tmp_path: Path
) -> None:
    (tmp_path / "filter.xml").write_text(ONLY_HERE)
    virsh(site.lab.host("host1").uri, "nwfilter-define", str(tmp_path / "filter.xml"))
    vm = odd("</interface>", "<filterref filter='only-here'/></interface>")
    job = site.do("vm.migrate", vm)
    assert (job.state, job.error_code) == (State.FAILED, "filter_missing"), job.error_message
    assert "only-here" in job.error_message
    assert site.runs_on(vm) == ["host1"]
    found = {step.name: step.detail for step in Step.objects.filter(job=job)}
    assert found["machine"].startswith("pc-q35-")
    assert "in no pool" in found["files"]
    virsh(site.lab.host("host2").uri, "nwfilter-define", str(tmp_path / "filter.xml"))
    again = site.do("vm.migrate", vm)
    assert again.state == State.SUCCEEDED, again.error_message
    back = site.do("vm.migrate", vm)
    assert back.state == State.SUCCEEDED, back.error_message


def test_a_file_that_the_destinations_pool_has_not_is_missed(
    site: Site, odd: Callable[..., VM], tmp_path: Path
) -> None:
    """The same directory is a pool on both hosts and holds the same files, but for one that is private to host1."""
    images = tmp_path / "media"
    images.mkdir()
    (images / "rescue.iso").write_bytes(bytes(4096))
    for host in site.lab.hosts():
        virsh(host.uri, "pool-create-as", "media", "dir", "--target", str(images))
    try:
        media = f"<disk type='file' device='cdrom'><source file='{images}/rescue.iso'/><target dev='sda'/></disk>"
        vm = odd("</devices>", f"{media}</devices>")
        (images / "rescue.iso").unlink()
        job = site.do("vm.migrate", vm)
        assert (job.state, job.error_code) == (State.FAILED, "file_missing"), job.error_message
        assert "rescue.iso" in job.error_message
        assert site.runs_on(vm) == ["host1"]
    finally:
        for host in site.lab.hosts():
            virsh(host.uri, "pool-destroy", "media")
