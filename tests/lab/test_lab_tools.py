"""The lab's own tools: names, state, cache, XML. Nothing here needs root, libvirt or a network."""

from __future__ import annotations

import signal
import subprocess
import threading
import xml.etree.ElementTree as ET
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import Path

import pytest

from lab import domain, names, network, processes, state
from lab.cli import parser, wishes
from lab.estate import DEFAULT_GUESTS, TINY_GUESTS
from lab.guests import new_guest
from lab.images.cache import Image, built, recipe_key
from lab.images.debian import apt_sources
from lab.images.kernel import load_order
from lab.shell import LabError, run, wait_until
from lab.state import Places, State, Wish, parse_wish

SUBNET = IPv4Network("10.97.3.0/24")
IMAGE = Image(Path("/i/vmlinuz"), Path("/i/initrd"), "console=ttyS0")


def a_state(**fields: object) -> State:
    return State(**{"name": "t", "subnet": str(SUBNET), "hosts": 2, **fields})  # type: ignore[arg-type]


# Names and addresses


def test_the_candidates_are_all_subnets_once_and_stay_within_one_private_range() -> None:
    candidates = list(names.subnet_candidates("dev"))
    assert len(set(candidates)) == len(candidates) == 8192
    assert all(candidate.subnet_of(IPv4Network("10.96.0.0/11")) for candidate in candidates)


def test_the_first_candidate_depends_on_the_name_only() -> None:
    first = next(names.subnet_candidates("dev"))
    assert first == next(names.subnet_candidates("dev"))
    assert first != next(names.subnet_candidates("demo"))


def test_two_subnets_never_share_a_prefix() -> None:
    prefixes = {names.prefix(subnet) for subnet in names.subnet_candidates("dev")}
    assert len(prefixes) == 8192


def test_link_names_fit_into_the_kernels_fifteen_characters() -> None:
    made = [network.outer_link(a_state(), part) for part in names.NETWORKS]
    made += [network.host_port(names.MOST_HOSTS, part) for part in names.NETWORKS]
    assert max(map(len, made)) <= 15


def test_no_address_is_given_twice() -> None:
    outer = [names.outer_address(SUBNET, part) for part in names.NETWORKS]
    hosts = [names.host_address(SUBNET, index) for index in range(1, names.MOST_HOSTS + 1)]
    guests = [address for segment in names.SEGMENTS for address in names.guest_addresses(SUBNET, segment)]
    every = outer + hosts + guests
    assert len(set(every)) == len(every)
    assert all(address in names.part(SUBNET, names.MANAGEMENT) for address in hosts)


@pytest.mark.parametrize("segment", names.SEGMENTS)
def test_guest_addresses_are_usable_addresses_of_their_segment(segment: str) -> None:
    part = names.part(SUBNET, segment)
    found = list(names.guest_addresses(SUBNET, segment))
    assert all(address in part for address in found)
    assert part.broadcast_address not in found
    assert part.network_address not in found


@pytest.mark.parametrize("bad", ["", "-a", "a-", "A", "a/b", "../x", "a" * 33, "1a", "a\n"])
def test_a_lab_name_is_a_safe_file_and_link_name(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lab name"):
        Places(bad, tmp_path)


@pytest.mark.parametrize(
    ("guest", "segment"), [("acct-a", "acct"), ("eng-a", "eng"), ("engine", "acct"), ("x", "acct")]
)
def test_a_guests_name_tells_its_segment(guest: str, segment: str) -> None:
    assert names.segment_of(guest) == segment


def test_a_hardware_address_is_unique_among_labs() -> None:
    first, second = (names.mac(next(names.guest_addresses(s, "eng"))) for s in islice(names.subnet_candidates("a"), 2))
    assert first != second


# Wishes


def test_a_wish_is_read_from_the_command_line() -> None:
    assert parse_wish("acct-a=tiny@2") == Wish("acct-a", "tiny", 2)


@pytest.mark.parametrize("bad", ["a", "a=tiny", "a@1", "a=tiny@", "a=tiny@x", "a=huge@1", "A=tiny@1", "=tiny@1"])
def test_a_malformed_wish_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"is not|not a"):
        parse_wish(bad)


def test_the_command_line_tells_nothing_said_from_none_wanted() -> None:
    said = parser().parse_args
    assert wishes(said(["up"])) is None
    assert wishes(said(["up", "--guests", "none"])) == []
    assert wishes(said(["up", "--guest", "acct-a=tiny@1"])) == [Wish("acct-a", "tiny", 1)]
    assert wishes(said(["up", "--guests", "tiny", "--guest", "x=tiny@2"])) == [*TINY_GUESTS, Wish("x", "tiny", 2)]


def test_a_guest_gets_an_address_that_none_has_and_keeps_its_uuid() -> None:
    lab = a_state()
    for wish in DEFAULT_GUESTS:
        lab.guests.append(new_guest(lab, wish))
    assert len({guest.address for guest in lab.guests}) == len(DEFAULT_GUESTS)
    again = new_guest(a_state(), DEFAULT_GUESTS[0])
    assert again.uuid == lab.guests[0].uuid


def test_an_address_that_became_free_is_given_again() -> None:
    lab = a_state()
    first, second = (new_guest(lab, Wish("acct-a", "tiny")), new_guest(lab, Wish("acct-b", "tiny")))
    assert first.address == second.address
    lab.guests.append(first)
    assert new_guest(lab, Wish("acct-b", "tiny")).address != first.address


def test_a_guest_on_a_host_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="hosts 1 to 2"):
        new_guest(a_state(), Wish("acct-a", "tiny", 3))


def test_a_full_segment_says_so() -> None:
    lab = a_state()
    template = new_guest(lab, Wish("acct-a", "tiny"))
    lab.guests = [replace(template, address=str(address)) for address in names.guest_addresses(SUBNET, "acct")]
    with pytest.raises(LabError, match="no address is left"):
        new_guest(lab, Wish("acct-b", "tiny"))


# State and locks


def test_a_saved_state_is_loaded_as_it_was(tmp_path: Path) -> None:
    places, lab = Places("t", tmp_path), a_state()
    lab.guests.append(new_guest(lab, Wish("eng-w", "writer", 2, rate=7, size=9, start=False)))
    state.save(places, lab)
    assert state.load(places) == lab
    assert state.neighbours(places) == []
    assert state.neighbours(Places("other", tmp_path)) == [lab]


def test_there_is_no_state_without_a_lab(tmp_path: Path) -> None:
    assert state.load(Places("t", tmp_path)) is None


def test_an_exclusive_lock_excludes_and_leaves_no_file(tmp_path: Path) -> None:
    path, inside, most, guard = tmp_path / "lock", [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(50):
            with state.locked(path):
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with guard:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not path.exists()


def test_shared_holders_stand_side_by_side_and_keep_the_exclusive_one_out(tmp_path: Path) -> None:
    path, entered = tmp_path / "lock", threading.Event()

    def work() -> None:
        with state.locked(path):
            entered.set()

    with state.locked(path, shared=True), state.locked(path, shared=True):
        thread = threading.Thread(target=work)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()


# The image cache


def test_a_recipes_key_follows_content_and_order() -> None:
    assert recipe_key(["a", "b"]) == recipe_key([b"a", b"b"])
    assert len({recipe_key(["a", "b"]), recipe_key(["b", "a"]), recipe_key(["ab"]), recipe_key(["a", "b", ""])}) == 4


def test_an_image_is_built_once_also_by_many_at_a_time(tmp_path: Path) -> None:
    builds: list[Path] = []

    def build(directory: Path) -> None:
        builds.append(directory)
        (directory / "disk").write_text("whole")

    threads = [threading.Thread(target=built, args=(tmp_path, "x", "1", build)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["x-1"]
    assert (built(tmp_path, "x", "1", build) / "disk").read_text() == "whole"


def test_a_build_that_fails_leaves_nothing_that_looks_like_an_image(tmp_path: Path) -> None:
    def build(directory: Path) -> None:
        (directory / "disk").write_text("half")
        raise LabError("no space")

    with pytest.raises(LabError, match="no space"):
        built(tmp_path, "x", "1", build)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_not_taken_for_an_image_and_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".x-1.abc.partial"
    left.mkdir()
    (left / "disk").write_text("half")

    def build(directory: Path) -> None:
        (directory / "disk").write_text("whole")

    target = built(tmp_path, "x", "1", build)
    assert (target / "disk").read_text() == "whole"
    assert not left.exists()


# Kernel modules


def module(tree: Path, name: str, *needs: str) -> None:
    path = tree / "kernel" / f"{name}.ko"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\0depends=" + ",".join(needs).encode() + b"\0name=" + name.encode() + b"\0")


def test_modules_load_after_what_they_depend_on_and_once(tmp_path: Path) -> None:
    module(tmp_path, "virtio-net", "net_failover", "virtio")
    module(tmp_path, "net_failover", "failover")
    module(tmp_path, "failover")
    module(tmp_path, "virtio_blk", "virtio", "builtin_thing")
    module(tmp_path, "virtio")
    (tmp_path / "modules.builtin").write_text("kernel/lib/builtin-thing.ko\n")
    order = [name for name, _ in load_order(tmp_path, ("virtio_net", "virtio_blk"))]
    assert order == ["failover", "net_failover", "virtio", "virtio_net", "virtio_blk"]


def test_a_module_that_the_kernel_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("")
    with pytest.raises(LabError, match="virtio_blk"):
        load_order(tmp_path, ("virtio_blk",))


# Package sources


def test_only_the_releases_own_sources_are_kept_from_both_forms(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old bookworm main\n"
        "deb [signed-by=/k.gpg arch=amd64] http://mirror/debian bookworm main contrib # mine\n"
        "deb-src http://mirror/debian bookworm main\n"
        "deb http://vendor/apt vendor-bookworm main\n"
    )
    (parts / "docker.list").write_text("deb http://docker bookworm stable\n")
    (parts / "debian.sources").write_text(
        "Types: deb deb-src\n# a remark\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates trixie\n"
        "Components: main non-free\nSigned-By:\n -----BEGIN-----\n .\n abc\n\n"
        "Types: deb\nURIs: http://off\nSuites: bookworm\nComponents: main\nEnabled: no\n"
    )
    assert apt_sources(tmp_path, codename="bookworm") == (
        "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /k.gpg\nArchitectures: amd64\n"
        "\n"
        "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: \n -----BEGIN-----\n .\n abc\n"
    )


def test_a_machine_without_debian_sources_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no package source for bookworm"):
        apt_sources(tmp_path, codename="bookworm")


# Domains


def define(wish: Wish, **changes: object) -> ET.Element:
    guest = replace(new_guest(a_state(), wish), **changes)  # type: ignore[arg-type]
    text = domain.domain_xml(
        guest, IMAGE, SUBNET, disk=Path("/s/a&b.qcow2"), console=Path("/c/x.log"), cache="none", bridge="br-acct"
    )
    return ET.fromstring(text)  # noqa: S314 - our own text


@pytest.mark.parametrize("wish", DEFAULT_GUESTS, ids=lambda wish: wish.name)
def test_every_guest_is_emulated_and_safe_to_boot_and_migrate(wish: Wish) -> None:
    xml = define(wish)
    words = (xml.findtext("os/cmdline") or "").split()
    assert xml.get("type") == "qemu"
    assert {"pti=on", "no_timer_check"} <= set(words)
    assert [disk.get("cache") for disk in xml.findall("devices/disk/driver")] == ["none"]
    assert xml.findtext("on_reboot") == "restart"
    assert xml.findtext("title")
    assert xml.findtext("description")


def test_paths_are_escaped() -> None:
    source = define(DEFAULT_GUESTS[0]).find("devices/disk/source")
    assert source is not None
    assert source.get("file") == "/s/a&b.qcow2"


def test_only_a_guest_with_an_agent_has_its_channel() -> None:
    assert define(Wish("acct-a", "debian")).find("devices/channel/target[@name='org.qemu.guest_agent.0']") is not None
    assert define(Wish("acct-a", "tiny")).find("devices/channel") is None


def test_a_guest_is_told_who_it_is() -> None:
    cmdline = (define(Wish("eng-w", "writer", rate=33, size=44)).findtext("os/cmdline") or "").split()
    told = dict(word.split("=", 1) for word in cmdline if word.startswith("lab."))
    address, length = told["lab.address"].split("/")
    part = names.part(SUBNET, "eng")
    assert IPv4Address(address) in part
    assert int(length) == part.prefixlen
    assert IPv4Address(told["lab.gateway"]) in part
    assert told["lab.repository"] == str(names.outer_address(SUBNET, "mgmt"))
    assert (told["lab.rate"], told["lab.size"], told["lab.name"]) == ("33", "44", "eng-w")


# Commands and processes


def test_a_failed_command_tells_its_status_and_its_last_words() -> None:
    with pytest.raises(LabError, match="status 3: no such thing"):
        run("sh", "-c", "echo no such thing >&2; exit 3")


def test_a_command_that_hangs_is_given_up() -> None:
    with pytest.raises(LabError, match=r"did not end within 0\.1 s"):
        run("sleep", "60", timeout=0.1)


def test_waiting_in_vain_names_the_fact_and_what_was_seen() -> None:
    with pytest.raises(LabError, match=r"guest ready: not seen within 0\.05 s\nKernel panic"):
        wait_until(lambda: False, seconds=0.05, what="guest ready", every=0.01, detail=lambda: "Kernel panic")


def test_a_process_is_only_signalled_when_it_is_proved_ours() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert not processes.send(child.pid, signal.SIGKILL, lambda pid: False)
        assert child.poll() is None

        def is_ours(pid: int) -> bool:
            return processes.command_line(pid) == ["sleep", "60"]

        # The kernel shows the words a moment after exec() has begun.
        wait_until(lambda: is_ours(child.pid), seconds=30, what="the sleeper", every=0.01)
        processes.end(lambda: [child.pid] if child.poll() is None else [], is_ours, "a sleeper")
        assert child.wait() == -signal.SIGKILL
    assert not processes.send(child.pid, signal.SIGKILL, lambda pid: True)


def test_a_process_tells_which_signals_it_catches() -> None:
    ready = "import signal; signal.signal(signal.SIGUSR1, print); print('ready', flush=True); signal.pause()"
    with subprocess.Popen(["/usr/bin/python3", "-c", ready], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert processes.catches(child.pid, signal.SIGUSR1)
        assert not processes.catches(child.pid, signal.SIGUSR2)
        child.kill()
