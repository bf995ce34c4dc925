"""The apt family's dialogue, read strictly: what a guest answers is not trusted to be well-formed. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Debian policy, section 5.6.1 and 5.6.12: what package names and versions are made of.
_NAME = r"[a-z0-9][a-z0-9+.-]*"
_VERSION = r"[A-Za-z0-9.+:~-]+"
_INSTALL = re.compile(rf"Inst ({_NAME})(?::[a-z0-9]+)? (?:\[({_VERSION})\] )?\(({_VERSION}) (.*)\)(?: \[.*\])?$")
_REMOVE = re.compile(rf"Remv ({_NAME})")
_INSTALLED = re.compile(rf"({_NAME})\t({_VERSION})\t(...?)$")

ENVIRONMENT = (
    "env",
    "LC_ALL=C",
    "DEBIAN_FRONTEND=noninteractive",
    "APT_LISTCHANGES_FRONTEND=none",
    "NEEDRESTART_MODE=l",
)
UPDATE = (*ENVIRONMENT, "apt-get", "-q", "-o", "Acquire::Retries=2", "-o", "APT::Update::Error-Mode=any", "update")
PLAN = (*ENVIRONMENT, "apt-get", "-q", "-s", "-o", "Debug::NoLocking=1", "--with-new-pkgs", "upgrade")
INSTALLED = ("dpkg-query", "-W", "-f=${Package}\\t${Version}\\t${db:Status-Abbrev}\\n")
AUDIT = ("dpkg", "--audit")


class UnreadableAnswer(ValueError):
    """The guest's answer is not what apt or dpkg would say."""


@dataclass(frozen=True, slots=True)
class Change:
    """One package of a plan; `old` is "" for a new one."""

    package: str
    old: str
    new: str
    origin: str

    @property
    def is_security(self) -> bool:
        """Whether it comes from a security archive."""
        return "security" in self.origin.lower()


def parse_plan(simulation: str) -> list[Change]:
    """Read the `Inst` lines of a simulated upgrade. Raises UnreadableAnswer on a line that does not parse, or on a
    removal.
    """
    changes = []
    for line in simulation.splitlines():
        if line.startswith("Inst "):
            found = _INSTALL.match(line)
            if not found:
                raise UnreadableAnswer(f"apt's plan has a line that cannot be read: {line[:200]!r}")
            changes.append(Change(found[1], found[2] or "", found[3], found[4]))
        elif _REMOVE.match(line):
            raise UnreadableAnswer(f"apt would remove a package, which a patch never does: {line[:200]!r}")
    return changes


def parse_installed(listing: str) -> dict[str, str]:
    """Read dpkg-query's listing: package -> version, of those fully or partly installed."""
    packages = {}
    for line in listing.splitlines():
        found = _INSTALLED.match(line)
        if not found:
            raise UnreadableAnswer(f"dpkg's listing has a line that cannot be read: {line[:200]!r}")
        if found[3][1] not in "nc":  # not installed, only configuration files left
            packages[found[1]] = found[2]
    return packages


def apply_command(changes: list[Change]) -> tuple[str, ...]:
    """Install exactly this plan: every package at its planned version, nothing removed, local configuration kept."""
    wanted = [f"{change.package}={change.new}" for change in changes]
    settings = (
        "DPkg::Lock::Timeout=300",
        "Dpkg::Options::=--force-confdef",
        "Dpkg::Options::=--force-confold",
        "Acquire::Retries=2",
    )
    options = [word for setting in settings for word in ("-o", setting)]
    return ("/usr/bin/apt-get", "-q", "-y", "--no-remove", *options, "install", *wanted)
