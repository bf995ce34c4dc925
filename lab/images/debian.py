"""The Debian guest: bootstrapped from the machine's own package sources, with a guest agent."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from lab import packages
from lab.images import kernel
from lab.images.cache import Image, built, recipe_key
from lab.images.initrd import write_initrd
from lab.shell import PAYLOAD, ROOT, LabError, run

PACKAGES = (
    kernel.META_PACKAGE,
    "initramfs-tools",
    "qemu-guest-agent",
    "systemd-sysv",
    "udev",
    "dbus",
    "iproute2",
    "kmod",
    "busybox-static",
)
DISK_SIZE = "1536M"
#: Units that a lab guest waits for, or runs, to no purpose.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-hwdb-update.service",
    "systemd-modules-load.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-update-utmp.service",
)
ENABLED = ("lab-network.service", "qemu-guest-agent.service", "serial-getty@ttyS0.service")
#: Programs that run at each boot and each reload of units; they cost seconds.
MASKED_GENERATORS = (
    "cryptsetup",
    "debug",
    "fstab",
    "getty",
    "gpt-auto",
    "hibernate-resume",
    "integritysetup",
    "rc-local",
    "run",
    "system-update",
    "sysv",
    "veritysetup",
)
_PAYLOAD = PAYLOAD / "debian"
#: Place in the guest, by file in the payload.
_FILES = {
    "lab-network": "usr/local/sbin/lab-network",
    "lab-network.service": "etc/systemd/system/lab-network.service",
    "sources.list": "etc/apt/sources.list",
    "coldplug.conf": "etc/systemd/system/systemd-udev-trigger.service.d/few.conf",
    "agent.conf": "etc/systemd/system/qemu-guest-agent.service.d/after.conf",
    "system.conf": "etc/systemd/system.conf.d/lab.conf",
    "journald.conf": "etc/systemd/journald.conf.d/lab.conf",
    "console.conf": "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf",
}


def apt_sources(directory: Path = Path("/etc/apt"), *, codename: str) -> str:
    """The machine's package sources for its own release, the third parties' left out.

    Reads both forms that sources.list(5) describes and returns them as deb822 stanzas. Kept is what
    has the suite `codename` (or its -updates, -security) and the component `main`. Raises LabError
    when none is left.
    """
    suites = re.compile(rf"{re.escape(codename)}([-/](updates|security))?\Z")
    stanzas = []
    for file in sorted([*directory.glob("sources.list"), *directory.glob("sources.list.d/*.list")]):
        stanzas += [_from_line(line) for line in file.read_text().splitlines() if line.startswith("deb ")]
    for file in sorted(directory.glob("sources.list.d/*.sources")):
        text = re.sub(r"(?m)^#.*\n?", "", file.read_text())
        stanzas += [_fields(stanza) for stanza in re.split(r"\n\s*\n", text) if stanza.strip()]
    kept = []
    for stanza in stanzas:
        ours = [suite for suite in stanza.get("Suites", "").split() if suites.match(suite)]
        enabled = stanza.get("Enabled", "yes").lower() in ("yes", "true", "on", "1")
        if ours and enabled and "deb" in stanza["Types"].split() and "main" in stanza["Components"].split():
            kept.append({**stanza, "Types": "deb", "Suites": " ".join(ours), "Components": "main"})
    if not kept:
        raise LabError(f"{directory} has no package source for {codename} main")
    return "\n".join("".join(f"{key}: {value}\n" for key, value in stanza.items()) for stanza in kept)


def _from_line(line: str) -> dict[str, str]:
    """A one-line entry as a stanza; options become fields (`signed-by` is `Signed-By`)."""
    found = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)", line.partition("#")[0])
    if found is None:
        return {}
    options, uri, suite, components = found.groups()
    stanza = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": components.strip()}
    for option in (options or "").split():
        key, _, value = option.partition("=")
        known = {"arch": "Architectures", "signed-by": "Signed-By", "trusted": "Trusted"}
        stanza[known.get(key, key.title())] = value.replace(",", " ")
    return stanza


def _fields(stanza: str) -> dict[str, str]:
    """A deb822 stanza as a mapping; continuation lines, an inline key for one, stay as they are."""
    fields: dict[str, str] = {}
    last = ""
    for line in stanza.strip("\n").splitlines():
        if line[:1].isspace() and last:
            fields[last] += f"\n{line}"
        elif ":" in line:
            last, _, value = line.partition(":")
            fields[last] = value.strip()
    return fields


def _codename() -> str:
    release = Path("/etc/os-release").read_text()
    found = re.search(r"(?m)^VERSION_CODENAME=\"?([a-z]+)", release)
    if found is None:
        raise LabError("/etc/os-release has no VERSION_CODENAME; is this a Debian release?")
    return found[1]


def _transport_options() -> list[str]:
    """The machine's own apt settings for reaching its sources: proxies, retries, certificates."""
    dump = run("apt-config", "dump", "Acquire")
    wanted = re.compile(r"Acquire::(https?::|Retries|ForceIPv|Check-)")
    return [f"--aptopt={line}" for line in dump.splitlines() if wanted.match(line) and '""' not in line]


def _bootstrap(directory: Path, root: Path) -> None:
    sources, codename = directory / "lab.sources", _codename()
    sources.write_text(apt_sources(codename=codename))
    hello = packages.build(packages.INSTALLED, directory)
    run(
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        f"--include={','.join(PACKAGES)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        # The guest boots from an initrd of the lab's own, so none is made in it.
        "--dpkgopt=path-exclude=/etc/kernel/postinst.d/initramfs-tools",
        *_transport_options(),
        f"--customize-hook=copy-in {hello} /tmp",
        f'--customize-hook=chroot "$1" dpkg --install /tmp/{hello.name}',
        f'--customize-hook=rm "$1/tmp/{hello.name}"',
        codename,
        root,
        sources,
        timeout=1800,
    )


def _settle(root: Path) -> None:
    """What makes the bootstrapped system a lab guest: names, network, console, nothing idle."""
    for file, place in _FILES.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_PAYLOAD / file, root / place)
    (root / "usr/local/sbin/lab-network").chmod(0o755)
    generators = root / "etc/systemd/system-generators"
    generators.mkdir(parents=True, exist_ok=True)
    for masked in (
        *(root / "etc/systemd/system" / unit for unit in MASKED),
        *(generators / f"systemd-{name}-generator" for name in MASKED_GENERATORS),
    ):
        masked.unlink(missing_ok=True)
        masked.symlink_to("/dev/null")
    run("chroot", root, "systemctl", "enable", "--quiet", *ENABLED)
    run("chroot", root, "passwd", "--delete", "root")
    # The initrd mounts the only file system; an entry would make the boot wait for udev to see it.
    (root / "etc/fstab").write_text("")
    # The machine's way to its mirrors is not the guest's.
    for leftover in (*root.glob("etc/apt/sources.list.d/*"), *root.glob("etc/apt/apt.conf.d/99mmdebstrap")):
        leftover.unlink()


def _build(directory: Path) -> None:
    root = directory / "root"
    _bootstrap(directory, root)
    _settle(root)
    shutil.copy(kernel.vmlinuz(root), directory / "vmlinuz")
    write_initrd(
        directory / "initrd",
        busybox=kernel.busybox(root),
        init=PAYLOAD / "init-debian",
        modules=kernel.load_order(kernel.modules_tree(root), (*kernel.ALL, kernel.AGENT)),
        extra={},
    )
    raw = directory / "root.raw"
    run("truncate", "--size", DISK_SIZE, raw)
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^metadata_csum", "-d", root, raw)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, directory / "root.qcow2")
    raw.unlink()
    shutil.rmtree(root)
    for leftover in (*directory.glob("*.deb"), directory / "lab.sources"):
        leftover.unlink()


def prepare(images: Path) -> Image:
    """The Debian image, built now (about a minute) if it is not in the cache."""
    own = [ROOT / "lab" / "images" / name for name in ("debian.py", "initrd.py", "kernel.py")]
    hello = [ROOT / "lab" / "packages.py", *sorted(packages.SOURCE.iterdir())]
    files = [_PAYLOAD / name for name in sorted(_FILES)]
    recipe: list[str | bytes | Path] = [_codename(), *own, *hello, PAYLOAD / "init-debian", *files]
    directory = built(images, "debian", recipe_key(recipe), _build)
    return Image(
        kernel=directory / "vmlinuz",
        initrd=directory / "initrd",
        cmdline="console=ttyS0 loglevel=4 systemd.show_status=0 net.ifnames=0",
        base=directory / "root.qcow2",
    )
