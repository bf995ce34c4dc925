"""Each test of the record has a key and an anchor file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def audit_files(settings: Any, tmp_path: Path) -> Path:
    """The data directory, laid out as an installation's, so that child processes can be given it."""
    settings.SLIPWAY_SEAL_KEY_FILE = tmp_path / "keys" / "audit-seal.key"
    settings.SLIPWAY_AUDIT_ANCHOR_FILE = tmp_path / "audit" / "anchors.jsonl"
    return tmp_path
