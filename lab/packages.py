"""Something to patch: the package `slipway-hello` in versions that succeed and fail in known ways.

1.0 is installed in the Debian image. 1.1 is a good update. 1.2 fails to configure (its postinst ends
with status 1, which leaves dpkg half-configured). 1.3 installs, but its service then fails.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.shell import PAYLOAD, run

NAME = "slipway-hello"
SOURCE = PAYLOAD / NAME
INSTALLED, GOOD, UNCONFIGURABLE, UNHEALTHY = "1.0", "1.1", "1.2", "1.3"
VERSIONS = (INSTALLED, GOOD, UNCONFIGURABLE, UNHEALTHY)


def build(version: str, directory: Path) -> Path:
    """Build a version's .deb in `directory`; returns its path. Raises ValueError for an unknown one."""
    if version not in VERSIONS:
        raise ValueError(f"{NAME} has the versions {', '.join(VERSIONS)}, not {version!r}")
    target = directory / f"{NAME}_{version}_all.deb"
    tree = directory / f".{NAME}-{version}"
    shutil.rmtree(tree, ignore_errors=True)
    for template, place in (
        ("control", "DEBIAN/control"),
        ("postinst", "DEBIAN/postinst"),
        ("prerm", "DEBIAN/prerm"),
        ("serve", "usr/lib/slipway-hello/serve"),
        ("slipway-hello.service", "lib/systemd/system/slipway-hello.service"),
    ):
        file = tree / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((SOURCE / template).read_text().replace("@VERSION@", version))
        file.chmod(0o644 if template in ("control", "slipway-hello.service") else 0o755)
    run("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, target)
    shutil.rmtree(tree)
    return target
