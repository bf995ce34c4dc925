"""apt and dpkg of the simulated Debian: upgrades offered, good ones and broken ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypervisor.simulated_driver.machine import REBOOT_REQUIRED, Machine, Outcome, Package, Upgrade
from hypervisor.simulated_driver.programs import program

AGENT_PACKAGE = "qemu-guest-agent"
APT_FAILED = 100  # apt-get's exit status for every error
_UPDATE_SECONDS = 1.0
_INTERRUPTED = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. \n"
_WITH_VALUE = ("-o", "-t", "-c", "--option", "--target-release", "--config-file")


@program("apt-get", "apt")
def _apt_get(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    words, options = _split(arguments)
    verb, names = (words[0], words[1:]) if words else ("", [])
    if verb == "update":
        machine.listed = dict(machine.repository)
        return Outcome(stdout=b"Reading package lists...\n", seconds=_UPDATE_SECONDS)
    if verb in ("clean", "autoclean", "check", "autoremove"):
        return Outcome()
    if verb not in ("upgrade", "dist-upgrade", "full-upgrade", "install"):
        return Outcome(APT_FAILED, stderr=f"E: Invalid operation {verb}\n".encode())
    if machine.interrupted:
        return Outcome(APT_FAILED, stderr=_INTERRUPTED.encode())
    chosen = _upgradable(machine)
    if verb == "install":
        picked = _pick(machine, names)
        if isinstance(picked, Outcome):
            return picked
        chosen = picked
    if options & {"-s", "--simulate", "--dry-run", "--just-print", "--no-act"}:
        return Outcome(stdout="".join(_simulation(machine, chosen)).encode(), seconds=0.5)
    return _install(machine, chosen)


@program("dpkg")
def _dpkg(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    words = set(arguments)
    broken = [name for name, package in machine.packages.items() if package.status != "installed"]
    if words & {"--audit", "-C"}:
        head = "The following packages are only half configured, probably due to problems\n"
        return Outcome(stdout=(head + "".join(f" {name}\n" for name in broken)).encode() if broken else b"")
    if "--configure" in words:
        machine.interrupted = False
        outcome = Outcome(seconds=0.5)
        for name in broken:
            offer = machine.listed.get(name)
            if offer is not None and offer.broken and offer.version == machine.packages[name].version:
                outcome = Outcome(1, stderr=_postinst_failed(name).encode(), seconds=0.5)
            else:
                machine.packages[name].status = "installed"
        return outcome
    if "--print-architecture" in words:
        return Outcome(stdout=b"amd64\n")
    return Outcome(2, stderr=b"dpkg: error: need an action option\n")


@program("dpkg-query")
def _dpkg_query(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    """`dpkg-query -W [-f FORMAT] [PACKAGE...]`."""
    form, names, words = "${Package}\\t${Version}\\n", [], iter(arguments)
    for word in words:
        if word in ("-f", "--showformat"):
            form = next(words)
        elif word.startswith(("-f=", "--showformat=")):
            form = word.partition("=")[2]
        elif word.startswith("-f"):
            form = word[2:]
        elif not word.startswith("-"):
            names.append(word)
    outcome = Outcome()
    for name in names or sorted(machine.packages):
        if name in machine.packages:
            outcome.stdout += _formatted(form, name, machine.packages[name]).encode()
        else:
            outcome.exit_code = 1
            outcome.stderr += f"dpkg-query: no packages found matching {name}\n".encode()
    return outcome


@program("apt-mark")
def _apt_mark(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    verb, *names = arguments
    if verb == "showhold":
        held = [name for name, package in machine.packages.items() if package.held]
        return Outcome(stdout="".join(f"{name}\n" for name in held).encode())
    for name in names:
        machine.packages[name].held = verb == "hold"
    return Outcome()


def _split(arguments: Sequence[str]) -> tuple[list[str], set[str]]:
    """The words and the options; options that take a value swallow it."""
    words: list[str] = []
    options: set[str] = set()
    left = iter(arguments)
    for word in left:
        if word in _WITH_VALUE:
            next(left, None)
        elif word.startswith("-"):
            options.add(word)
        else:
            words.append(word)
    return words, options


def _upgradable(machine: Machine) -> dict[str, Upgrade]:
    return {
        name: machine.listed[name]
        for name, package in sorted(machine.packages.items())
        if name in machine.listed and not package.held and package.version != machine.listed[name].version
    }


def _pick(machine: Machine, names: Sequence[str]) -> dict[str, Upgrade] | Outcome:
    """What `install NAME[=VERSION]...` would install."""
    chosen: dict[str, Upgrade] = {}
    for word in names:
        name, _, version = word.partition("=")
        offer = machine.listed.get(name)
        if offer is None and name not in machine.packages:
            return Outcome(APT_FAILED, stderr=f"E: Unable to locate package {name}\n".encode())
        here = machine.packages.get(name)
        if version and version not in (offer.version if offer else "", here.version if here else ""):
            return Outcome(APT_FAILED, stderr=f"E: Version '{version}' for '{name}' was not found\n".encode())
        wanted = version or (offer.version if offer else "")
        if offer is not None and wanted == offer.version and (here is None or here.version != wanted):
            chosen[name] = offer
    return chosen


def _simulation(machine: Machine, chosen: dict[str, Upgrade]) -> list[str]:
    """apt-get's Inst and Conf lines."""
    installs, configures = [], []
    for name, offer in chosen.items():
        origin = "Debian-Security:12/stable-security" if offer.security else "Debian:12.6/stable"
        where = f"({offer.version} {origin} [amd64])"
        old = f" [{machine.packages[name].version}]" if name in machine.packages else ""
        installs.append(f"Inst {name}{old} {where}\n")
        configures.append(f"Conf {name} {where}\n")
    return [*installs, *configures]


def _install(machine: Machine, chosen: dict[str, Upgrade]) -> Outcome:
    outcome = Outcome(seconds=0.5 + sum(offer.seconds for offer in chosen.values()))
    for name, offer in chosen.items():
        held = machine.packages[name].held if name in machine.packages else False
        machine.packages[name] = Package(offer.version, "half-configured" if offer.broken else "installed", held=held)
        outcome.stdout += f"Setting up {name} ({offer.version}) ...\n".encode()
        if offer.broken:
            outcome.exit_code = APT_FAILED
            outcome.stderr += _postinst_failed(name).encode()
        elif offer.needs_reboot:
            machine.write(REBOOT_REQUIRED, b"*** System restart required ***\n")
            machine.write(f"{REBOOT_REQUIRED}.pkgs", f"{name}\n".encode())
            if name.startswith("linux-image"):
                machine.next_kernel = f"{offer.version.partition('-')[0]}-cloud-amd64"
        outcome.restarts_agent = outcome.restarts_agent or name == AGENT_PACKAGE
    if outcome.exit_code:
        outcome.stderr += b"E: Sub-process /usr/bin/dpkg returned an error code (1)\n"
    return outcome


def _postinst_failed(name: str) -> str:
    return (
        f"dpkg: error processing package {name} (--configure):\n"
        f" installed {name} package post-installation script subprocess returned error exit status 1\n"
    )


def _formatted(form: str, name: str, package: Package) -> str:
    abbreviation = {"installed": "i", "half-configured": "F", "unpacked": "U"}[package.status]
    want = "hold" if package.held else "install"
    fields = {
        "Package": name,
        "binary:Package": name,
        "Version": package.version,
        "Architecture": package.architecture,
        "Status": f"{want} ok {package.status}",
        "db:Status-Abbrev": f"{want[0]}{abbreviation} ",
        "db:Status-Status": package.status,
        "source:Package": name,
        "source:Version": package.version,
    }
    text = form.replace("\\t", "\t").replace("\\n", "\n")
    return re.sub(r"\$\{([^}]*)\}", lambda match: fields.get(match[1], ""), text)
