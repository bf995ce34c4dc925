"""The real estate that the libvirt driver's tests run on: two hosts and tiny guests, torn down at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.estate import Lab

#: Built images are kept here between runs: where the installation keeps its data.
DATA_DIR = Path(os.environ.get("SLIPWAY_LAB_DIR") or Path(__file__).parents[2] / "var")


@pytest.fixture(scope="session")
def hosts() -> Iterator[Lab]:
    """Two libvirt hosts with a tiny guest named `tiny` on the first."""
    if os.geteuid() != 0 or shutil.which("libvirtd") is None:
        pytest.fail("The lab needs root and libvirt; run script/test, which installs them, or deselect the mark `lab`.")
    lab = Lab("contract", DATA_DIR)
    lab.down()
    try:
        lab.up([])
        lab.add_guest("tiny", "tiny", 1)
        yield lab
    finally:
        lab.down()
