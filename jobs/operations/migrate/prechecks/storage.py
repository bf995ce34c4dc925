"""Whether the destination sees the VM's disks, or can be given copies of them."""

from __future__ import annotations

from collections import Counter

from jobs.engine.context import Verdict
from jobs.operations.migrate.prechecks.disks import shared_how, writable
from jobs.operations.migrate.prechecks.facts import Facts

#: Disk cache modes with which another host sees what was written.
SAFE_CACHES = frozenset({"none", "directsync", ""})
GIB = 1024**3


def storage(facts: Facts) -> Verdict:
    """Every writable disk is on storage that both hosts share, with a cache mode that other hosts can follow; or it is
    to be copied.
    """
    disks = writable(facts.definition)
    copied = {copy.target for copy in facts.copies}
    how = {
        disk.target: "to be copied"
        if disk.target in copied
        else shared_how(disk, facts.source, facts.path, facts.old_copies)
        for disk in disks
    }
    local = [target for target, reason in how.items() if not reason]
    cached = [
        disk.target
        for disk in disks
        if disk.source_kind == "file" and disk.target not in copied and disk.cache not in SAFE_CACHES
    ]
    old = [disk.target for disk in disks if disk.target in local and disk.source in facts.old_copies]
    if old:
        why = (
            f"{facts.destination} has an old copy of {', '.join(old)}, left there by an earlier migration, which would "
            f"be taken for the disk. Prove the path from {facts.source} to {facts.destination} if they share that "
            "directory by now; else remove the old copy there, and ask for the disks to be copied."
        )
    elif local:
        why = (
            f"{', '.join(local)} would stay behind: {facts.source} and {facts.destination} were not seen to share that "
            f"storage, and the cluster {facts.source.cluster} does not say so. Put it into a pool that both have and "
            "prove their paths, or ask for the disks to be copied (files in qcow2 or raw format, each of one VM)."
        )
    else:
        why = f"Disk {', '.join(cached)} is cached on {facts.source}; set its cache to “none” and restart the VM."
    counted = Counter(how.values())
    return Verdict(
        "storage",
        "See that both hosts share every disk",
        not local and not cached,
        "storage_not_shared" if local else "disk_cached",
        why,
        found=", ".join(f"{count} {reason}" for reason, count in counted.items()) or "no disk",
    )


def copying(facts: Facts) -> Verdict:
    """Each disk that is to be copied finds an empty place at the destination, and nothing in it would be lost."""
    code, why = _against(facts)
    size = sum(copy.capacity_bytes for copy in facts.copies)
    return Verdict(
        "copying",
        "See that the destination can take copies",
        not code,
        code or "storage_short",
        why,
        found=f"{len(facts.copies)} disks, {size / GIB:.1f} GiB" if facts.copies else "nothing to copy",
    )


def _against(facts: Facts) -> tuple[str, str]:
    """What speaks against copying: a code and a sentence, or nothing."""
    there = facts.destination
    if facts.copies and facts.snapshots:
        count = len(facts.snapshots)
        return (
            "snapshots_not_copied",
            f"{count} snapshots of {facts.vm} are inside its images, and a copy has the present state alone; delete "
            "them first.",
        )
    without = [copy for copy in facts.copies if not copy.pool]
    if without:
        paths = ", ".join(copy.path for copy in without)
        return "pool_missing", f"{there} has no storage pool for {paths}; define one in that directory."
    taken = [copy for copy in facts.copies if copy.is_taken]
    if taken:
        paths = ", ".join(copy.path for copy in taken)
        return (
            "disk_exists",
            f"{there} has {paths} already, which a copy would overwrite. If both hosts see the same directory, that "
            f"may be the VM's own disk: prove the path from {facts.source} to {there}, and nothing has to be copied. "
            "Else remove it there first.",
        )
    for pool in sorted({copy.pool for copy in facts.copies}):
        needed = sum(copy.capacity_bytes for copy in facts.copies if copy.pool == pool)
        seen = min(copy.free_bytes for copy in facts.copies if copy.pool == pool)
        free = max(seen - facts.promised_bytes.get(pool, 0), 0)
        if free < needed:
            return (
                "storage_short",
                f"The pool {pool} of {there} has {free / GIB:.1f} GiB left; the disks of {facts.vm} may take up to "
                f"{needed / GIB:.1f} GiB.",
            )
    return "", ""
