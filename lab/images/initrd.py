"""Initial RAM disks made of a static busybox, kernel modules and one script."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.shell import run


def write_initrd(
    target: Path, *, busybox: Path, init: Path, modules: list[tuple[str, bytes]], extra: dict[str, Path]
) -> None:
    """Write an initrd whose /init is the script `init`, with `modules` in loading order.

    `extra` maps places in the initrd to files, kept executable. It is left uncompressed: emulated
    processors are slow, the copy is not.
    """
    tree = target.with_name(f"{target.name}.tree")
    for directory in ("bin", "dev", "proc", "sys", "root", "modules", "etc/acpi/PWRF"):
        (tree / directory).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin" / "busybox")
    shutil.copy(init, tree / "init")
    (tree / "init").chmod(0o755)
    for number, (name, content) in enumerate(modules):
        (tree / "modules" / f"{number:02}-{name}.ko").write_bytes(content)
    for place, file in extra.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tree / place)
        (tree / place).chmod(0o755)
    run("sh", "-c", 'find . | LC_ALL=C sort | cpio --quiet -o -H newc > "$0"', target, cwd=tree)
    shutil.rmtree(tree)
