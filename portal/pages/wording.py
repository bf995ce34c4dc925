"""Quantities and operations in words, the same everywhere. Pure."""

from __future__ import annotations

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400


def age_words(seconds: float) -> str:
    """How long ago, in one unit ("4 s", "12 min", "30 h", "9 d"); `static/js/portal.js` counts on in the same steps."""
    if seconds < MINUTE:
        return f"{max(0, int(seconds))} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min"
    if seconds < 2 * DAY:
        return f"{int(seconds // HOUR)} h"
    return f"{int(seconds // DAY)} d"


def length_words(seconds: float) -> str:
    """A length of time with three significant figures at most ("142 ms", "3.2 s", "4 min 5 s", "2 h 10 min")."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole // MINUTE, "min", whole % MINUTE, "s")
    if whole < DAY:
        return _two(whole // HOUR, "h", whole % HOUR // MINUTE, "min")
    return _two(whole // DAY, "d", whole % DAY // HOUR, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def size_words(size: float) -> str:
    """Bytes in binary units ("512 MiB", "1.5 GiB")."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            digits = 0 if unit == "B" or size >= 100 or float(size).is_integer() else 1
            return f"{size:.{digits}f} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes every size")


def moment(when: datetime) -> str:
    """A moment for a tooltip: to the second, in UTC."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


_OPERATIONS = {
    "vm.start": "Start",
    "vm.shutdown": "Shut down",
    "vm.reboot": "Reboot",
    "vm.force_off": "Force off",
    "vm.patch": "Patch",
    "vm.migrate": "Migrate",
    "vm.migrate_preview": "Preview a migration",
    "vm.restore_definition": "Restore the approved definition",
    "snapshot.create": "Take snapshot",
    "snapshot.revert": "Revert",
    "snapshot.delete": "Delete snapshot",
    "host.drain": "Drain",
    "host.activate": "Activate",
    "host.prove_paths": "Prove paths",
    "cluster.rebalance": "Rebalance",
    "host.remove_leftovers": "Remove what VMs left",
}


def operation_words(name: str) -> str:
    """An operation where its target is not named beside it."""
    return _OPERATIONS.get(name, name)
