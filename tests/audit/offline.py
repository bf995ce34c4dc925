"""The stand-alone verifier, and exports to give it."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from audit.export import JsonLines, of_range
from audit.fields import encode
from audit.keys import retired_directory

SOURCE = Path(settings.BASE_DIR) / "audit" / "offline" / "slipway_audit_verify.py"

_spec = importlib.util.spec_from_file_location("verifier_given_away", SOURCE)
assert _spec is not None
assert _spec.loader is not None
verifier: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(verifier)


def exported(export: JsonLines | None = None) -> list[dict[str, Any]]:
    """The lines of an export; of the whole record unless one is given."""
    content = b"".join((export or of_range()).chunks())
    return [json.loads(line) for line in content.splitlines()]


def check(
    lines: Iterable[dict[str, Any] | bytes], *, key: bool = True, anchors: bool = True, selection: bool = False
) -> dict[str, Any]:
    """The verifier's report on these lines, with the key and the anchor file of the test's installation."""
    path = Path(settings.SLIPWAY_SEAL_KEY_FILE).parent.parent / "export.jsonl"
    path.write_bytes(b"".join(line if isinstance(line, bytes) else encode(line).encode() + b"\n" for line in lines))
    report = check_files([path], key=key, anchors=anchors, selection=selection)
    assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    return report


def check_files(
    files: list[Path],
    *,
    key: bool = True,
    anchors: bool = True,
    selection: bool = False,
    syslog: list[Path] | None = None,
) -> dict[str, Any]:
    """The verifier's report on these files, with all keys of the test's installation."""
    sealing, file = Path(settings.SLIPWAY_SEAL_KEY_FILE), Path(settings.SLIPWAY_AUDIT_ANCHOR_FILE)
    keys = [*sorted(retired_directory(sealing).glob("*.key")), sealing]
    # Neither is there before something was sealed.
    options = argparse.Namespace(
        export=files,
        selection=selection,
        key=[found for found in keys if found.exists()] if key else None,
        anchors=file if anchors and file.exists() else None,
        syslog=syslog,
    )
    report: dict[str, Any] = verifier.verify(options)
    return report


def clean(lines: Iterable[dict[str, Any] | bytes], **options: bool) -> dict[str, Any]:
    """The report, which must be good."""
    report = check(lines, **options)
    assert report["ok"], report["first_break"]
    return report


def broken(lines: Iterable[dict[str, Any] | bytes], **options: bool) -> tuple[str, int | None]:
    """Kind and sequence of the first break, which there must be."""
    found = check(lines, **options)["first_break"]
    assert found is not None
    return found["kind"], found["sequence"]


def with_right_trailer(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with counts and digest made anew, as anybody can who alters a file."""
    *body, trailer = lines
    records = body[1:]
    sealed = sum(record["seal"] is not None for record in records)
    content = b"".join(encode(line).encode() + b"\n" for line in body)
    counts = {"events": len(records), "sealed": sealed, "unsealed": len(records) - sealed}
    made = {**trailer, **counts, "head": body[0]["head"], "sha256": hashlib.sha256(content).hexdigest()}
    return [*body, made]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The verifier as an auditor starts it: alone, without this environment's packages."""
    command = [sys.executable, "-I", "-S", str(SOURCE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
