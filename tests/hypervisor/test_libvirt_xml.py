"""The libvirt driver's XML: hostile documents are refused, hostile words go there and back, definitions are read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor.document import MAX_CHARACTERS, can_hold, lines_of, parse, write
from hypervisor.errors import HypervisorError, SnapshotFailed
from hypervisor.libvirt_driver.definition import (
    ManagementFacts,
    keep_passwords,
    mark_element,
    read_definition,
    read_mark,
)
from hypervisor.libvirt_driver.snapshot_xml import read_snapshot, snapshot_request
from hypervisor.types import NIC, Disk, PowerState, SnapshotKind

DATA = Path(__file__).parent / "data"
PERSISTENT = ManagementFacts(persistent=True, autostart=True, has_managed_save=False)
DISKS = "<devices><disk type='file' device='disk'><source file='/a'/><target dev='vda'/></disk></devices>"


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE domain><domain/>",
        "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>",
        "<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><d>&x;</d>",
        "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><d>&b;</d>",
        "<!DOCTYPE d [<!ENTITY % x SYSTEM 'http://127.0.0.1/'> %x;]><d/>",
        "<d>&x;</d>",
        "<d>",
        "<d></e>",
        "<d/><e/>",
        "<d>\x00</d>",
        "<d a='1' a='2'/>",
        "no xml",
        "",
    ],
)
def test_a_hostile_or_broken_document_is_refused(text: str) -> None:
    with pytest.raises(HypervisorError):
        parse(text)


def test_a_document_that_is_too_large_is_refused() -> None:
    with pytest.raises(HypervisorError, match="too large"):
        parse("<d>" + " " * MAX_CHARACTERS + "</d>")


def test_a_deep_document_does_no_harm() -> None:
    depth = 100_000
    root = parse("<d>" * depth + "</d>" * depth)
    assert root.tag == "d"


def test_a_definition_is_read() -> None:
    xml = (DATA / "domain.xml").read_text()
    found = read_definition(xml, "<kept/>", PERSISTENT)
    assert (found.uuid, found.name) == ("0e7de9e1-a6a3-5dd3-815c-9a546c0cbf00", "web <01> & co")
    assert (found.title, found.description) == ('The "first" one', "Line one\nline two & <b>")
    assert (found.virt_type, found.machine, found.cpu_model) == ("kvm", "pc-q35-7.2", "Haswell-noTSX")
    assert (found.kernel_cmdline, found.loader) == ("console=ttyS0 pti=on", "/usr/share/OVMF/OVMF_CODE_4M.fd")
    assert (found.memory_mib, found.vcpus) == (4096, 2)
    assert (found.persistent, found.autostart, found.has_managed_save) == (True, True, False)
    assert (found.agent_channel, found.agent_connected) == (True, True)
    assert found.hostdevs == ("pci bus=0x06 domain=0x0000 function=0x0 slot=0x02",)
    assert found.filesystems == ("virtiofs:shared",)
    assert found.nics == (
        NIC("52:54:00:00:00:01", "network", "default", "virtio"),
        NIC("52:54:00:00:00:02", "bridge", "br-eng", "e1000e"),
        NIC("52:54:00:00:00:03", "direct", "eth0", ""),
    )
    assert found.disks == (
        Disk("vda", "disk", "/images/web.qcow2", "qcow2", "none", read_only=False, shareable=True, source_kind="file"),
        Disk("vdb", "disk", "/dev/vg/data", "raw", "default", read_only=False, source_kind="block"),
        Disk("vdc", "disk", "rbd:pool/image", "raw", "writeback", read_only=False, source_kind="network"),
        Disk("vdd", "disk", "fast/extra", "qcow2", "default", read_only=False, source_kind="volume"),
        Disk("sda", "cdrom", "", "raw", "default", read_only=True, source_kind="file"),
    )
    assert found.operation_id == "op <7>"
    assert found.xml == "<kept/>"


def test_a_bare_definition_is_read() -> None:
    found = read_definition("<domain/>", "<domain/>", PERSISTENT)
    assert (found.uuid, found.memory_mib, found.vcpus, found.disks, found.operation_id) == ("", 0, 1, (), "")
    assert not found.agent_channel
    assert not found.agent_connected


@pytest.mark.parametrize(
    ("memory", "mib"),
    [
        ("<memory unit='KiB'>1048576</memory>", 1024),
        ("<memory>1048576</memory>", 1024),
        ("<memory unit='GiB'>2</memory>", 2048),
        ("<memory unit='b'>1073741824</memory>", 1024),
        ("<memory unit='MB'>1000</memory>", 953),
        ("<memory unit='furlong'>1024</memory>", 1),
        ("<memory>much</memory>", 0),
        ("<memory>" + "9" * 5000 + "</memory>", 0),
        ("<memory/>", 0),
    ],
)
def test_memory_is_read_in_any_unit(memory: str, mib: int) -> None:
    assert read_definition(f"<domain>{memory}</domain>", "", PERSISTENT).memory_mib == mib


any_text = st.text(st.characters(codec="utf-8"), max_size=80) | st.text("<>&'\"]]>!-[CDATA \n\t;%", max_size=40)


@settings(max_examples=500)
@given(name=any_text, description=any_text)
def test_a_snapshots_words_arrive_unchanged_or_are_refused(name: str, description: str) -> None:
    domain = parse(f"<domain>{DISKS}</domain>")
    try:
        text = snapshot_request(domain, name, description, with_memory=True)
    except SnapshotFailed:
        assert not (can_hold(name) and can_hold(description.replace("\r", "")))
        return
    root = parse(text)
    assert [child.tag for child in root] == ["name", "description", "memory", "disks"]
    assert root.findtext("name") == name
    assert root.findtext("description") == description.replace("\r\n", "\n").replace("\r", "\n")
    assert len(root.findall(".//*")) == 5


@given(any_text)
def test_a_mark_arrives_unchanged(operation_id: str) -> None:
    if not can_hold(operation_id):
        return
    # libvirt wraps the element so.
    element = mark_element(operation_id).replace(
        "<operation ", "<slipway:operation xmlns:slipway='urn:slipway:operation:1' "
    )
    assert read_mark(parse(f"<domain><metadata>{element}</metadata></domain>")) == operation_id


@given(any_text)
def test_what_is_written_is_read_again(text: str) -> None:
    if not can_hold(text):
        return
    root = parse("<a/>")
    root.text = text
    assert parse(write(root)).text == (text or None)


def test_a_snapshot_names_every_disk() -> None:
    domain = parse(
        "<domain><devices>"
        "<disk type='file' device='disk'><source file='/a'/><target dev='vda'/></disk>"
        "<disk type='file' device='disk'><source file='/b'/><target dev='vdb'/><readonly/></disk>"
        "<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>"
        "<disk type='file' device='floppy'><target dev='fda'/></disk>"
        "</devices></domain>"
    )
    root = parse(snapshot_request(domain, "s", "", with_memory=False))
    assert {disk.get("name"): disk.get("snapshot") for disk in root.findall("disks/disk")} == {
        "vda": "internal",
        "vdb": "no",
        "sda": "no",
        "fda": "no",
    }
    assert root.find("memory").get("snapshot") == "no"  # type: ignore[union-attr]


def test_a_snapshot_is_read() -> None:
    found = read_snapshot(
        parse(
            "<domainsnapshot><name>b</name><description>x &amp; y</description><state>paused</state>"
            "<parent><name>a</name></parent><creationTime>1795434089</creationTime><memory snapshot='internal'/>"
            "<disks><disk name='vda' snapshot='internal'/><disk name='sda' snapshot='no'/></disks></domainsnapshot>"
        ),
        is_current=True,
    )
    assert (found.name, found.description, found.parent) == ("b", "x & y", "a")
    assert found.created_at == datetime(2026, 11, 23, 11, 41, 29, tzinfo=UTC)
    assert (found.state, found.kind, found.has_memory) == (PowerState.PAUSED, SnapshotKind.INTERNAL, True)
    assert found.is_current
    assert found.disks == ("vda",)


@pytest.mark.parametrize(
    ("held", "kind", "has_memory"),
    [
        ("<memory snapshot='no'/><disks><disk name='a' snapshot='external'/></disks>", SnapshotKind.EXTERNAL, False),
        ("<memory snapshot='external'/>", SnapshotKind.EXTERNAL, True),
        ("<disks><disk name='a' snapshot='internal'/></disks>", SnapshotKind.INTERNAL, False),
        ("", SnapshotKind.INTERNAL, False),
    ],
)
def test_a_snapshots_kind(held: str, kind: SnapshotKind, has_memory: bool) -> None:
    found = read_snapshot(parse(f"<domainsnapshot>{held}</domainsnapshot>"), is_current=False)
    assert (found.kind, found.has_memory) == (kind, has_memory)


@pytest.mark.parametrize("seconds", ["-1", "99999999999999999", "9" * 400, "soon", ""])
def test_a_snapshot_with_an_impossible_time_is_read(seconds: str) -> None:
    xml = f"<domainsnapshot><name>a</name><creationTime>{seconds}</creationTime></domainsnapshot>"
    assert read_snapshot(parse(xml), is_current=False).created_at.tzinfo is UTC


@pytest.mark.parametrize(
    "other",
    [
        "<d b='2' a='1'><e>x</e><f/></d>",
        "<d a='1' b='2'>\n  <e> x </e>\n  <f></f>\n</d>",
    ],
)
def test_layout_makes_no_other_document(other):
    assert lines_of("<d a='1' b='2'><e>x</e><f/></d>") == lines_of(other)


def test_a_document_that_is_nested_too_deeply_is_refused():
    with pytest.raises(HypervisorError, match="too deeply"):
        lines_of("<a>" * 20_000 + "</a>" * 20_000)


def test_a_prefix_makes_no_other_document():
    assert lines_of("<d><a:e xmlns:a='urn:x'/></d>") == lines_of("<d xmlns:b='urn:x'><b:e/></d>")


@pytest.mark.parametrize("other", ["<d a='2'><e/></d>", "<d><e/></d>", "<d a='1'/>", "<d a='1'><e>x</e></d>"])
def test_content_makes_another_document(other):
    assert lines_of("<d a='1'><e/></d>") != lines_of(other)


CONSOLES = "<domain><devices>{}</devices></domain>"


def test_console_passwords_outlive_a_new_definition():
    there = parse(CONSOLES.format("<graphics type='vnc' passwd='first'/><graphics type='spice' passwd='other'/>"))
    new = parse(CONSOLES.format("<graphics type='spice'/><graphics type='vnc'/><graphics type='vnc'/>"))
    keep_passwords(there, new)
    kept = [(graphics.get("type"), graphics.get("passwd")) for graphics in new.findall("devices/graphics")]
    assert kept == [("spice", "other"), ("vnc", "first"), ("vnc", None)]


def test_a_console_password_that_a_definition_brings_is_its_own():
    new = parse(CONSOLES.format("<graphics type='vnc' passwd='new'/>"))
    keep_passwords(parse(CONSOLES.format("<graphics type='vnc' passwd='old'/>")), new)
    assert new.find("devices/graphics").get("passwd") == "new"
