"""Whether a guest is as well after a patch as before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.operations.patch.apt import Change


def ailments(
    *,
    plan: Sequence[Change],
    packages: Mapping[str, str],
    half_configured: str,
    failed_before: set[str],
    failed_now: set[str],
    own_unit: str,
) -> list[str]:
    """What is worse than before, each in one sentence; empty when the guest is well."""
    found = []
    for change in plan:
        version = packages.get(change.package)
        if version != change.new:
            found.append(f"{change.package} is at {version or 'no version'}, planned was {change.new}.")
    new_failures = sorted(failed_now - failed_before - {own_unit})
    if new_failures:
        found.append(f"Units that ran before have failed: {', '.join(new_failures)}.")
    if half_configured:
        found.append(f"dpkg is left half-way: {half_configured.splitlines()[0][:200]}")
    return found


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str]]:
    """Packages that differ between two inventories, by name."""
    return [
        {"package": name, "old": before.get(name, ""), "new": after.get(name, "")}
        for name in sorted(set(before) | set(after))
        if before.get(name) != after.get(name)
    ]
