"""Debian's cloud kernel: fetched with apt, and the modules a guest needs, in the order they load."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

from lab.shell import LabError, run

META_PACKAGE = "linux-image-cloud-amd64"
#: What a guest needs; `button` and `evdev` make an ACPI shutdown visible to it.
ALL = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "button", "evdev")
#: The guest agent's channel.
AGENT = "virtio_console"

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def download(package: str, directory: Path) -> Path:
    """Fetch a Debian package with the machine's own apt; returns the .deb's path.

    Asks for fresh package lists only when apt does not find what its lists promise.
    """
    # As root apt would drop to a user who may not write here.
    command = ("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package)
    try:
        run(*command, cwd=directory, timeout=600)
    except LabError:
        run("apt-get", "-q", "update", timeout=600)
        run(*command, cwd=directory, timeout=600)
    return next(iter(directory.glob(f"{package}_*.deb")))


def kernel_package() -> str:
    """The package that the kernel's meta package depends on, e.g. linux-image-6.1.0-30-cloud-amd64."""
    for fresh in (False, True):
        if fresh:
            run("apt-get", "-q", "update", timeout=600)
        shown = run("apt-cache", "depends", META_PACKAGE)
        found = re.search(r"Depends: (linux-image-\S+)", shown)
        if found:
            return found[1]
    raise LabError(f"apt knows no {META_PACKAGE}; is this Debian on amd64?")


def _module_files(tree: Path) -> dict[str, Path]:
    """Module name to file, for a /lib/modules/VERSION directory. The kernel takes - and _ as one."""
    found = {}
    for path in tree.rglob("*.ko*"):
        found[path.name.split(".ko")[0].replace("-", "_")] = path
    return found


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    return lzma.decompress(raw) if path.suffix == ".xz" else raw


def load_order(tree: Path, wanted: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """The wanted modules and all they depend on, each after its dependencies.

    Raises LabError for one that is neither a module nor built into the kernel.
    """
    files, builtin_list = _module_files(tree), tree / "modules.builtin"
    builtin = {Path(line).stem.replace("-", "_") for line in builtin_list.read_text().split()}
    order: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in order or name in builtin:
            return
        if name not in files:
            raise LabError(f"the kernel has no module {name}")
        content = _content(files[name])
        found = _DEPENDS.search(content)
        for needed in found[1].decode().split(",") if found and found[1] else []:
            add(needed.replace("-", "_"))
        order[name] = content

    for name in wanted:
        add(name)
    return list(order.items())


def modules_tree(root: Path) -> Path:
    """The one /lib/modules/VERSION of an unpacked system or kernel package."""
    trees = [*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*")]
    return next(tree for tree in trees if tree.is_dir())


def vmlinuz(root: Path) -> Path:
    """The kernel of an unpacked system or kernel package."""
    return next(iter(root.glob("boot/vmlinuz-*")))


def busybox(root: Path) -> Path:
    """The static busybox of an unpacked system or package."""
    return next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists())
