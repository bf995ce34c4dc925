"""The tiny guest, a kernel with busybox that boots in seconds, and the writer, which dirties memory."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.images import kernel
from lab.images.cache import Image, built, recipe_key
from lab.images.initrd import write_initrd
from lab.shell import PAYLOAD, ROOT, run

INIT, SHUTDOWN, WRITER = PAYLOAD / "init-tiny", PAYLOAD / "power-button", PAYLOAD / "writer.c"
_RECIPE = ROOT / "lab" / "images"


def _build(directory: Path) -> None:
    work = directory / "work"
    work.mkdir()
    for package in (kernel.kernel_package(), "busybox-static"):
        run("dpkg-deb", "-x", kernel.download(package, work), work / "root")
    root = work / "root"
    run("gcc", "-O2", "-Wall", "-Werror", "-static", "-o", work / "writer", WRITER)
    shutil.copy(kernel.vmlinuz(root), directory / "vmlinuz")
    write_initrd(
        directory / "initrd",
        busybox=kernel.busybox(root),
        init=INIT,
        modules=kernel.load_order(kernel.modules_tree(root), kernel.ALL),
        extra={"etc/acpi/PWRF/00000080": SHUTDOWN, "bin/writer": work / "writer"},
    )
    shutil.rmtree(work)


def prepare(images: Path) -> Image:
    """The tiny image; the writer is the same with other words on its kernel command line."""
    recipe = [INIT, SHUTDOWN, WRITER, _RECIPE / "kernel.py", _RECIPE / "initrd.py", _RECIPE / "tiny.py"]
    directory = built(images, "tiny", recipe_key(recipe), _build)
    return Image(directory / "vmlinuz", directory / "initrd", "console=ttyS0 loglevel=4")
