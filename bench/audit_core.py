"""The anchor of verification: `@xen-orchestra/audit-core`, a hash chain over LevelDB, filled with the same events."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.report import ROOT

PACKAGES = {"@xen-orchestra/audit-core": "0.4.0", "level": "10.0.0"}
INSTALL_SECONDS = 120  # some seconds, where npm reaches its registry
WHO = ("actor_id", "actor_name", "actor_kind", "source_address", "token_id")


class AuditCore:
    """The running program, with its records."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        #: Bytes of a record, as JSON.
        self.mean_bytes = 0.0

    def fill(self, events: Iterator[dict[str, Any]]) -> None:
        """Add the events as records: who as the subject, the action as the event, all else as data."""
        for event in events:
            subject = {name: event.pop(name) for name in WHO}
            self._say(json.dumps({"subject": subject, "event": event.pop("action"), "data": event}))
        self._say("")
        self.mean_bytes = self._answer()["mean_bytes"]

    def check(self) -> dict[str, Any]:
        """One whole check: `valid` records, `seconds`, and `cpu_seconds` of the whole program."""
        self._say("check")
        return self._answer()

    def _say(self, line: str) -> None:
        print(line, file=self._process.stdin, flush=line in ("", "check"))

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("audit-core has died")
        return json.loads(line)


@contextmanager
def audit_core() -> Iterator[AuditCore]:
    """Install it with npm below `var/bench/`, once, and run it on a LevelDB that is thrown away.

    Raises FileNotFoundError without Node.js, CalledProcessError or TimeoutExpired when npm can't install.
    """
    home = ROOT / "var" / "bench" / "audit-core"
    home.mkdir(parents=True, exist_ok=True)
    if not all(_version(home / "node_modules" / name) == version for name, version in PACKAGES.items()):
        named = [f"{name}@{version}" for name, version in PACKAGES.items()]
        quiet = ["--no-audit", "--no-fund", "--silent"]
        subprocess.run(
            ["npm", "install", *quiet, "--prefix", str(home), *named], check=True, cwd=home, timeout=INSTALL_SECONDS
        )
    directory = tempfile.mkdtemp(prefix="slipway-bench-", dir="/var/tmp")
    process = subprocess.Popen(
        ["node", str(ROOT / "bench" / "audit_core.js"), directory],
        env={**os.environ, "NODE_PATH": str(home / "node_modules")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield AuditCore(process)
    finally:
        process.communicate()
        shutil.rmtree(directory)


def _version(package: Any) -> str:
    try:
        return json.loads((package / "package.json").read_text())["version"]
    except FileNotFoundError:
        return ""
