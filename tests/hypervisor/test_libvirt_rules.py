"""What the driver decides by itself: snapshots it refuses beforehand, the order of saved ones, migration's flags."""

from __future__ import annotations

import itertools
from dataclasses import replace

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor.document import parse
from hypervisor.errors import HypervisorError, NotSupported, SnapshotFailed
from hypervisor.libvirt_driver.handles import address_with_options
from hypervisor.libvirt_driver.migration import migration_flags
from hypervisor.libvirt_driver.snapshot_rules import refuse_creation, refuse_revert
from hypervisor.libvirt_driver.snapshot_xml import read_snapshot
from hypervisor.libvirt_driver.snapshots import saved_parents_first
from hypervisor.names import MAX_SNAPSHOT_NAME_BYTES, snapshot_name_problem
from hypervisor.types import MigrationSpec, SavedSnapshot

OLD, V9_3, V10_9, V11_2, V11_4 = (9, 0, 0), (9, 3, 0), (10, 9, 0), (11, 2, 0), (11, 4, 0)
QCOW2 = (
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='/a.qcow2'/><target dev='vda'/></disk>"
    "<disk type='file' device='cdrom'><driver type='raw'/><source file='/cd'/><target dev='sda'/><readonly/></disk>"
)
RAW = "<disk type='file' device='disk'><driver type='raw'/><source file='/b'/><target dev='vdb'/></disk>"
NETWORK = (
    "<disk type='network' device='disk'><driver type='qcow2'/><source protocol='rbd' name='p/i'/>"
    "<target dev='vdb'/></disk>"
)
FLASH = "<os><loader type='pflash'>/code.fd</loader><nvram format='{}'>/vars</nvram></os>"


def verdict(devices: str, *, os: str = "", active: bool = True, version: tuple[int, int, int] = OLD) -> str:
    """The refusal, "" if there is none."""
    try:
        refuse_creation(
            parse(f"<domain>{os}<devices>{devices}</devices></domain>"), "s", active=active, library_version=version
        )
    except NotSupported as error:
        return str(error)
    return ""


def test_qcow2_disks_are_taken_and_read_only_ones_do_not_matter() -> None:
    assert verdict(QCOW2) == ""


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        (QCOW2 + RAW, "Disk vdb is raw"),
        (QCOW2 + NETWORK, "Disk vdb is of type network"),
        ("", "no writable disk"),
        ("<disk device='cdrom'><target dev='sda'/><readonly/></disk>", "no writable disk"),
        ("<disk device='floppy'><target dev='fda'/></disk>", "no writable disk"),
    ],
)
def test_disks_that_hold_no_internal_snapshot(devices: str, says: str) -> None:
    assert says in verdict(devices)


@pytest.mark.parametrize(
    ("version", "active", "nvram", "refused"),
    [
        (OLD, True, "raw", True),
        (OLD, False, "raw", True),
        (V9_3, True, "raw", True),
        (V9_3, False, "raw", False),
        (V10_9, True, "raw", True),
        (V10_9, True, "qcow2", False),
        (V10_9, False, "qcow2", False),
    ],
)
def test_firmware_in_flash(version: tuple[int, int, int], active: bool, nvram: str, refused: bool) -> None:
    assert bool(verdict(QCOW2, os=FLASH.format(nvram), active=active, version=version)) is refused


def test_firmware_chosen_by_libvirt_is_flash_too() -> None:
    assert "UEFI" in verdict(QCOW2, os="<os firmware='efi'/>")
    assert verdict(QCOW2, os="<os firmware='bios'/>") == ""


def revert_verdict(xml: str, version: tuple[int, int, int] = OLD) -> type[HypervisorError] | None:
    root = parse(f"<domainsnapshot><name>s</name>{xml}</domainsnapshot>")
    try:
        refuse_revert(root, read_snapshot(root, is_current=False), library_version=version)
    except HypervisorError as error:
        return type(error)
    return None


INTERNAL = "<memory snapshot='internal'/><disks><disk name='vda' snapshot='internal'/></disks>"
EXTERNAL = "<memory snapshot='no'/><disks><disk name='vda' snapshot='external'/></disks>"


@pytest.mark.parametrize(
    ("xml", "version", "expected"),
    [
        (INTERNAL + "<domain/>", OLD, None),
        (INTERNAL, OLD, SnapshotFailed),
        (EXTERNAL + "<domain/>", OLD, NotSupported),
        (EXTERNAL + "<domain/>", (9, 9, 0), None),
        (INTERNAL + "<domain/>", (11, 1, 0), None),
        (INTERNAL + "<domain/>", V11_2, NotSupported),
        (INTERNAL + "<domain/>", (11, 3, 0), NotSupported),
        (INTERNAL + "<domain/>", V11_4, None),
        (EXTERNAL + "<domain/>", (11, 3, 0), None),
    ],
)
def test_reverts_that_would_leave_the_guest_off(
    xml: str, version: tuple[int, int, int], expected: type[HypervisorError] | None
) -> None:
    assert revert_verdict(xml, version) is expected


@pytest.mark.parametrize("name", ["1", "17", 'a"b', "a\\b"])
def test_a_snapshot_that_qemu_would_mistake_is_not_reverted_to(name: str) -> None:
    root = parse("<domainsnapshot><domain/></domainsnapshot>")
    info = replace(read_snapshot(root, is_current=False), name=name)
    with pytest.raises(NotSupported):
        refuse_revert(root, info, library_version=OLD)


@pytest.mark.parametrize(
    "name",
    ["before-patch", "a b", "a&b", "<b>", "it's", "a,b=c;d$e%f", "ünï☃", "1st", "a" * MAX_SNAPSHOT_NAME_BYTES],
)
def test_names_that_all_parts_carry(name: str) -> None:
    assert snapshot_name_problem(name) == ""


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", " a", "a ", ".", "..", ".a", "-a", "a/b", "/", "a\\b", 'a"b', "1", "007", "٣"),
        *("a\nb", "a\x00b", "a\x1bb", "a\u202eb", "a\u200bb", "\ud800", "ü" * MAX_SNAPSHOT_NAME_BYTES),
        "a" * (MAX_SNAPSHOT_NAME_BYTES + 1),
    ],
)
def test_names_that_some_part_does_not_carry(name: str) -> None:
    assert snapshot_name_problem(name).endswith(".")
    with pytest.raises(SnapshotFailed):
        refuse_creation(parse(f"<domain><devices>{QCOW2}</devices></domain>"), name, active=True, library_version=OLD)


@given(st.text(max_size=300))
def test_any_name_has_a_verdict(name: str) -> None:
    if snapshot_name_problem(name) == "":
        assert name.isprintable()
        assert "/" not in name
        assert len(name.encode()) <= MAX_SNAPSHOT_NAME_BYTES


def saved(name: str, parent: str) -> SavedSnapshot:
    return SavedSnapshot(name, parent, is_current=False, xml="")


@given(st.integers(1, 8).flatmap(lambda size: st.tuples(st.permutations(range(size)), st.randoms())))
def test_saved_snapshots_come_after_their_parents(order_and_random: tuple[list[int], object]) -> None:
    order, random = order_and_random
    tree = [saved(str(one), str(random.randrange(one)) if one else "elsewhere") for one in range(len(order))]  # type: ignore[attr-defined]
    ordered = [one.name for one in saved_parents_first(tree[index] for index in order)]
    assert sorted(ordered) == sorted(one.name for one in tree)
    for one in tree:
        if one.parent in ordered:
            assert ordered.index(one.parent) < ordered.index(one.name)


def test_saved_snapshots_in_a_circle_are_refused() -> None:
    with pytest.raises(SnapshotFailed):
        saved_parents_first([saved("a", "b"), saved("b", "a")])


ALWAYS = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
NEVER = libvirt.VIR_MIGRATE_TUNNELLED | libvirt.VIR_MIGRATE_NON_SHARED_DISK | libvirt.VIR_MIGRATE_PARALLEL


def test_every_combination_of_migration_flags() -> None:
    for persistent, converge, postcopy, unsafe, resume, encrypted in itertools.product([True, False], repeat=6):
        wanted = {"persistent": persistent, "auto_converge": converge, "allow_postcopy": postcopy, "unsafe": unsafe}
        spec = MigrationSpec(**wanted, resume=resume, encrypted=encrypted)
        flags = migration_flags(spec)
        assert flags & ALWAYS == ALWAYS
        assert not flags & NEVER
        assert bool(flags & libvirt.VIR_MIGRATE_PERSIST_DEST) is persistent
        assert bool(flags & libvirt.VIR_MIGRATE_UNDEFINE_SOURCE) is persistent
        assert bool(flags & libvirt.VIR_MIGRATE_AUTO_CONVERGE) is converge
        assert bool(flags & libvirt.VIR_MIGRATE_POSTCOPY) is postcopy
        assert bool(flags & libvirt.VIR_MIGRATE_UNSAFE) is unsafe
        assert bool(flags & libvirt.VIR_MIGRATE_TLS) is encrypted
        assert bool(flags & libvirt.VIR_MIGRATE_POSTCOPY_RESUME) is resume
    assert migration_flags(MigrationSpec(copied=("vda",))) & libvirt.VIR_MIGRATE_NON_SHARED_DISK


@pytest.mark.parametrize(
    ("uri", "directory", "address"),
    [
        ("qemu:///system", "/pki", "qemu:///system"),
        ("qemu+tcp://h/system", "/pki", "qemu+tcp://h/system"),
        ("qemu+ssh://h/system", "/pki", "qemu+ssh://h/system?no_tty=1"),
        ("qemu+tls://h/system", "", "qemu+tls://h/system"),
        ("qemu+tls://h/system", "/etc/slipway/pki", "qemu+tls://h/system?pkipath=/etc/slipway/pki"),
        ("qemu+tls://h/system", "/a b&no_verify=1", "qemu+tls://h/system?pkipath=/a%20b%26no_verify%3D1"),
    ],
)
def test_what_this_process_adds_to_an_address(
    monkeypatch: pytest.MonkeyPatch, uri: str, directory: str, address: str
) -> None:
    monkeypatch.setenv("SLIPWAY_PKI_DIR", directory)
    assert address_with_options(uri) == address
