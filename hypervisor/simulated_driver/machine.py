"""The inside of a simulated guest: a small Debian, as much of it as maintenance sees through the guest agent.

It is on the guest's disk: it goes with the guest from host to host, and a revert brings back what it was. Programs are
in `programs`, `packages` and `shell`.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

BOOT_ID_PATH = "/proc/sys/kernel/random/boot_id"
REBOOT_REQUIRED = "/run/reboot-required"


@dataclass(slots=True)
class Package:
    """An installed package."""

    version: str
    status: str = "installed"  # dpkg's word: "installed", "half-configured", "unpacked"
    architecture: str = "amd64"
    held: bool = False


@dataclass(slots=True)
class Upgrade:
    """A version of a package that the repository offers."""

    version: str
    security: bool = False
    broken: bool = False  # its postinst fails
    needs_reboot: bool = False
    seconds: float = 1.0  # that installing it takes


@dataclass(slots=True)
class Unit:
    """A transient systemd service. Its program's effects come when it ends, at `ends` (seconds since 1970)."""

    argv: list[str]
    ends: float
    output: str = ""  # the file that gets its output
    appends: bool = False  # to that file, rather than beginning it anew
    remains: bool = False  # RemainAfterExit=yes
    done: bool = False
    exit_code: int = 0


@dataclass(slots=True)
class Outcome:
    """What a program came to, `seconds` of simulated time after its start."""

    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.02
    reboots: bool = False  # the machine reboots after it
    powers_off: bool = False
    restarts_agent: bool = False  # the guest agent, and what it runs, is killed by it


@dataclass(slots=True)
class Machine:
    """The guest's disk and what of it lives in memory only (`/run`, units, the running kernel)."""

    boot: str = ""
    files: dict[str, str] = field(default_factory=dict)  # bytes, as Latin-1 text
    packages: dict[str, Package] = field(default_factory=dict)
    repository: dict[str, Upgrade] = field(default_factory=dict)
    listed: dict[str, Upgrade] = field(default_factory=dict)  # what the last `apt-get update` saw
    units: dict[str, Unit] = field(default_factory=dict)
    kernel: str = "6.1.0-18-cloud-amd64"
    next_kernel: str = ""
    interrupted: bool = False  # dpkg was stopped in the middle
    clock_behind: float = 0.0  # seconds that the guest's clock is late

    def read(self, path: str) -> bytes | None:
        """A file's content, None if there is no such file."""
        if path == BOOT_ID_PATH:
            return f"{self.boot}\n".encode()
        text = self.files.get(path)
        return None if text is None else text.encode("latin-1")

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whole."""
        self.files[path] = content.decode("latin-1")

    def dumps(self) -> str:
        """As stored."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Machine:
        """From the store."""
        data: dict[str, Any] = json.loads(text)
        for name, kind in (("packages", Package), ("repository", Upgrade), ("listed", Upgrade), ("units", Unit)):
            data[name] = {key: kind(**value) for key, value in data[name].items()}
        return cls(**data)


def fresh(name: str) -> Machine:
    """A newly installed Debian, with three upgrades in its repository: one for security, one that needs a reboot."""
    versions = {
        "apt": "2.6.1",
        "base-files": "12.4+deb12u5",
        "bash": "5.2.15-2+b2",
        "dpkg": "1.21.22",
        "libc6": "2.36-9+deb12u4",
        "libssl3": "3.0.11-1~deb12u2",
        "linux-image-cloud-amd64": "6.1.76-1",
        "openssh-server": "1:9.2p1-2+deb12u2",
        "qemu-guest-agent": "1:7.2+dfsg-7+deb12u5",
        "systemd": "252.22-1~deb12u1",
        "tzdata": "2024a-0+deb12u1",
    }
    release = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
    return Machine(
        files={"/etc/debian_version": "12.5\n", "/etc/hostname": f"{name}\n", "/etc/os-release": release},
        packages={package: Package(version) for package, version in versions.items()},
        repository={
            "libssl3": Upgrade("3.0.13-1~deb12u1", security=True),
            "linux-image-cloud-amd64": Upgrade("6.1.90-1", security=True, needs_reboot=True, seconds=2.0),
            "tzdata": Upgrade("2024b-0+deb12u1"),
        },
    )


def load(db: sqlite3.Connection, guest: sqlite3.Row) -> Machine:
    """The inside of a guest as it is now, started afresh if the guest was since somebody last looked."""
    row = db.execute("SELECT contents FROM machines WHERE uuid = ?", (guest["uuid"],)).fetchone()
    machine = Machine.loads(row["contents"]) if row else fresh(guest["name"])
    if guest["boot"] and machine.boot != guest["boot"]:
        _restart(machine, guest["boot"])
    return machine


def save(tx: sqlite3.Connection, guest: sqlite3.Row, machine: Machine) -> None:
    """Keep the inside of a guest."""
    tx.execute("INSERT OR REPLACE INTO machines (uuid, contents) VALUES (?, ?)", (guest["uuid"], machine.dumps()))


def _restart(machine: Machine, boot: str) -> None:
    """What lives in memory only is gone; a package manager that was at work has been interrupted."""
    at_work = [unit for unit in machine.units.values() if not unit.done]
    if any("apt-get" in word or "dpkg" in word for unit in at_work for word in unit.argv):
        machine.interrupted = True
    machine.units.clear()
    machine.files = {path: text for path, text in machine.files.items() if not path.startswith("/run/")}
    machine.kernel = machine.next_kernel or machine.kernel
    machine.boot = boot
