"""Mutants that live, each with the reason why that harms nobody: `explained.table`, written by hand.

A mutant's name stands on a line of its own; the lines below it, indented, explain it.
"""

from __future__ import annotations

from pathlib import Path

TABLE = Path(__file__).with_name("explained.table")


def explanations() -> dict[str, str]:
    """Name -> why. Raises ValueError for a name that is not explained, or named twice."""
    found: dict[str, str] = {}
    name = ""
    for line in TABLE.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(" "):
            found[name] = f"{found[name]} {line.strip()}".strip()
        elif line in found:
            raise ValueError(f"named twice: {line}")
        else:
            name = line
            found[name] = ""
    silent = [name for name, why in found.items() if not why]
    if silent:
        raise ValueError(f"not explained: {silent}")
    return found
