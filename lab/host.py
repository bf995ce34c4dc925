"""One host of the lab: a libvirtd of its own in namespaces of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from lab import certificates, names, network, processes
from lab.keeper import DAEMON
from lab.shell import ENVIRONMENT, PYTHON, ROOT, LabError, log, wait_until
from lab.state import Places, State
from lab.virsh import answers, virsh

POOL = "shared"
DAEMON_SECONDS = 60

LIBVIRTD_CONF = """\
listen_tls = {tls}
listen_tcp = 1
listen_addr = "{address}"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
migration_host = "{address}"
"""
#: libvirtd does not start when the directory is missing, so only where there are certificates.
QEMU_TLS_CONF = """\
default_tls_x509_cert_dir = "/etc/pki/qemu"
default_tls_x509_verify = 1
"""
POOL_XML = """\
<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>
"""
NETWORK_XML = """\
<network><name>{segment}</name><forward mode='bridge'/><bridge name='{bridge}'/></network>
"""


class Host:
    """A host, by its number in the lab. Building one does nothing; `start` brings it up."""

    def __init__(self, places: Places, state: State, index: int) -> None:
        self.index = index
        self.name = names.host_name(index)
        self.address = str(names.host_address(state.network, index))
        #: By which the lab itself speaks to it, and what the lab tells others.
        self.uri = f"qemu+tcp://{self.address}/system"
        self.told_uri = f"qemu+tls://{self.address}/system" if state.tls else self.uri
        self.uuid = names.lab_uuid(state.name, self.name)
        self.netns = network.host_namespace(state, index)
        self.directory = places.host(self.name)
        self._places = places
        self._state = state

    # Processes

    def keeper_pid(self) -> int | None:
        """The process that reaps for this host (see `keeper`)."""
        return next(iter(self._find("lab.keeper", str(self.directory))), None)

    def daemon_pid(self) -> int | None:
        """The host's libvirtd, also when it is stopped."""
        return next(iter(self._find(DAEMON[0])), None)

    def qemu_pid(self, guest: str) -> int | None:
        """The QEMU process of a guest on this host."""
        for pid in processes.members(self.netns):
            words = processes.command_line(pid)
            if words and "qemu-system" in words[0] and any(w.startswith(f"guest={guest},") for w in words):
                return pid
        return None

    def kill_qemu(self, guest: str) -> bool:
        """SIGKILL a guest's QEMU, whether libvirtd knows it or not; returns whether there was one."""
        pid = self.qemu_pid(guest)
        return pid is not None and processes.send(pid, signal.SIGKILL, self._is_ours)

    def answers(self) -> bool:
        """Whether libvirtd takes a call."""
        return answers(self.uri)

    def signal_daemon(self, number: signal.Signals) -> None:
        """Send libvirtd a signal. Raises LabError when there is no libvirtd."""
        pid = self.daemon_pid()
        if pid is None or not processes.send(pid, number, self._is_ours):
            raise LabError(f"{self.name} has no libvirtd")

    def kill_daemon(self) -> None:
        """SIGKILL libvirtd and wait until it is gone; QEMU runs on."""
        self.signal_daemon(signal.SIGKILL)
        wait_until(lambda: self.daemon_pid() is None, seconds=30, what=f"the end of {self.name}'s libvirtd")

    def end(self) -> None:
        """Kill everything that runs in the host's namespace; the keeper last, as it reaps the others."""

        def others() -> list[int]:
            keeper = self.keeper_pid()
            return [pid for pid in processes.members(self.netns) if pid != keeper]

        processes.end(others, self._is_ours, f"the processes of {self.name}")
        processes.end(lambda: processes.members(self.netns), self._is_ours, f"the keeper of {self.name}")

    # Bringing up

    def start(self) -> None:
        """Make the host answer: write its files, start what is missing, define pool and networks.

        A stopped or hung libvirtd is replaced. Raises LabError with the end of its log otherwise.
        """
        self._write_files()
        if self.keeper_pid() is None:
            self._start_keeper()
        if self.daemon_pid() is not None and not self.answers():
            self._unhang()
        if self.daemon_pid() is None:
            self._start_daemon()
        self._define()

    def _is_ours(self, pid: int) -> bool:
        return processes.in_namespace(pid, self.netns)

    def _find(self, *marks: str) -> list[int]:
        """Processes of this host whose command line begins with, or has, the marks."""
        found = []
        for pid in processes.members(self.netns):
            words = processes.command_line(pid)
            if words and (Path(words[0]).name == marks[0] or set(marks) <= set(words)):
                found.append(pid)
        return found

    def _write_files(self) -> None:
        for own in ("etc", "lib", "cache", "log", "run", "no-dbus"):
            (self.directory / own).mkdir(parents=True, exist_ok=True)
        filters = self.directory / "etc" / "nwfilter"
        if not filters.exists() and Path("/etc/libvirt/nwfilter").is_dir():
            shutil.copytree("/etc/libvirt/nwfilter", filters)
        table = ["127.0.0.1 localhost"]
        for index in range(1, self._state.hosts + 1):
            table.append(f"{names.host_address(self._state.network, index)} {names.host_name(index)}")
        files = {
            "etc/libvirtd.conf": LIBVIRTD_CONF.format(address=self.address, uuid=self.uuid, tls=int(self._state.tls)),
            "etc/qemu.conf": QEMU_CONF.format(address=self.address) + (QEMU_TLS_CONF if self._state.tls else ""),
            "hosts": "\n".join(table) + "\n",
            "hostname": f"{self.name}\n",
        }
        if self._state.tls:
            places = self._places
            certificates.give(
                places.authority, certificates.PLACES, self.directory / "pki", self.name, address=self.address
            )
        for path, text in files.items():
            # In place: some of these files are mounted into the host.
            (self.directory / path).write_text(text)

    def _start_keeper(self) -> None:
        # A host whose keeper died lives on in its processes: the new one joins them.
        others = processes.members(self.netns)
        enter = ["nsenter", f"--net={processes.NETNS / self.netns}"]
        keeper = [PYTHON, "-m", "lab.keeper", str(self.directory), self.name]
        if others:
            enter += [f"--mount=/proc/{others[0]}/ns/mnt", f"--uts=/proc/{others[0]}/ns/uts"]
            keeper.append("--adopt")
        else:
            enter += ["unshare", "--mount", "--uts", "--propagation", "slave"]
        with (self.directory / "log" / "keeper.log").open("ab") as complaints:
            subprocess.run(
                ["setsid", "--fork", *enter, *keeper],
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                cwd="/",
                env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                check=True,
            )
        wait_until(
            self._keeper_listens, seconds=30, what=f"the keeper of {self.name}", detail=lambda: self._tail("keeper.log")
        )

    def _keeper_listens(self) -> bool:
        """Whether the keeper catches SIGUSR1; before that the signal would end it."""
        pid = self.keeper_pid()
        return pid is not None and processes.catches(pid, signal.SIGUSR1)

    def _start_daemon(self) -> None:
        keeper = self.keeper_pid()
        if keeper is None or not processes.send(keeper, signal.SIGUSR1, self._is_ours):
            raise LabError(f"{self.name} has no keeper: {self._tail('keeper.log')}")
        wait_until(
            self.answers,
            seconds=DAEMON_SECONDS,
            what=f"an answer of {self.name}'s libvirtd",
            every=0.2,
            detail=self.complaints,
        )

    def _unhang(self) -> None:
        log(f"{self.name}: libvirtd does not answer")
        pid = self.daemon_pid()
        if pid is not None and processes.status(pid) == "T":
            self.signal_daemon(signal.SIGCONT)
            if self.answers():
                return
        self.kill_daemon()

    def _define(self) -> None:
        """The shared pool and a network per segment, as far as they are missing or inactive."""
        with_path = self.directory / "etc" / "lab-definition.xml"
        wanted = [("pool", POOL, POOL_XML.format(name=POOL, path=self._places.store))]
        for segment in names.SEGMENTS:
            xml = NETWORK_XML.format(segment=segment, bridge=network.bridge(segment))
            wanted.append(("net", segment, xml))
        for noun, name, xml in wanted:
            listing = virsh(self.uri, f"{noun}-list", "--all", "--name").split()
            if name not in listing:
                with_path.write_text(xml)
                virsh(self.uri, f"{noun}-define", str(with_path))
                virsh(self.uri, f"{noun}-autostart", name)
            if name not in virsh(self.uri, f"{noun}-list", "--name").split():
                virsh(self.uri, f"{noun}-start", name)
        with_path.unlink(missing_ok=True)

    # What was said

    def complaints(self) -> str:
        """The end of libvirtd's logs."""
        return "\n".join(self._tail(name) for name in ("libvirtd.stderr", "libvirtd.log"))

    def _tail(self, name: str) -> str:
        try:
            return (self.directory / "log" / name).read_text(errors="replace")[-1500:]
        except FileNotFoundError:
            return ""


def supports_direct_io(directory: Path) -> bool:
    """Whether files here can be opened with O_DIRECT, which cache='none' needs."""
    probe = directory / ".direct-io"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
