"""The import contracts can fail: each one is broken on purpose, in a copy of the tree, and must notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("portal", "console", "jobs", "inventory", "access", "audit", "hypervisor", "lab")

BREAKS = [
    ("Imports point down", "audit/planted.py", "import jobs.models"),
    ("The hypervisor package is plain Python", "hypervisor/planted.py", "import django"),
    ("libvirt is spoken in one folder", "jobs/planted.py", "import libvirt"),
    ("Only access calls django-guardian", "jobs/planted.py", "import guardian.shortcuts"),
    ("Pages and the API drive no hypervisor", "portal/planted.py", "import hypervisor.connect"),
    ("The planner of balancing is pure", "jobs/balancing/planted.py", "import inventory.models"),
    ("The lab stands alone", "lab/planted.py", "import hypervisor.types"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contracts, to be broken."""
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def contracts(tree: Path) -> tuple[int, str]:
    """Run import-linter; its status and what it said."""
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=tree, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_the_tree_as_it_is_keeps_them(copy):
    status, said = contracts(copy)
    assert status == 0, said


@pytest.mark.parametrize(("name", "path", "line"), BREAKS)
def test_each_contract_goes_red_when_it_is_broken(copy, name, path, line):
    planted = copy / path
    planted.write_text(line + "\n")
    try:
        status, said = contracts(copy)
    finally:
        planted.unlink()
    assert status != 0
    assert f"{name} BROKEN" in said
