"""Where the tests' labs keep their images, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

from lab.estate import Lab

#: Built images are kept here between runs: where the installation keeps its data.
DATA_DIR = Path(os.environ.get("SLIPWAY_LAB_DIR") or Path(__file__).parents[1] / "var")


def lab_named(name: str) -> Lab:
    """The lab of that name: each test process has its own, and `SLIPWAY_LAB_SUFFIX` keeps two runs on one machine
    apart.
    """
    process = os.environ.get("PYTEST_XDIST_WORKER", "")
    return Lab(name + process + os.environ.get("SLIPWAY_LAB_SUFFIX", ""), DATA_DIR)
