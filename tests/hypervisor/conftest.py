"""The real estate that the libvirt driver's tests run on: two hosts and tiny guests, torn down at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from lab.estate import Lab
from tests.labs import lab_named


@pytest.fixture(scope="session")
def hosts() -> Iterator[Lab]:
    """Two libvirt hosts with a tiny guest named `tiny` on the first."""
    if os.geteuid() != 0 or shutil.which("libvirtd") is None:
        pytest.fail("The lab needs root and libvirt; run script/test, which installs them, or deselect the mark `lab`.")
    lab = lab_named("contract")
    lab.down()
    try:
        lab.up([])
        lab.add_guest("tiny", "tiny", 1)
        yield lab
    finally:
        lab.down()
