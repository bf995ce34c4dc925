"""Whether the destination sees the VM's disks."""

from __future__ import annotations

from collections import Counter
from posixpath import dirname

from hypervisor.types import Disk
from jobs.engine.context import Verdict
from jobs.operations.migrate.prechecks.facts import Facts

#: Disk cache modes with which another host sees what was written.
SAFE_CACHES = frozenset({"none", "directsync", ""})


def storage(facts: Facts) -> Verdict:
    """Every writable disk is on storage that both hosts share, with a cache mode that other hosts can follow."""
    disks = writable(facts)
    how = {disk.target: shared_how(facts, disk) for disk in disks}
    local = [target for target, reason in how.items() if not reason]
    cached = [disk.target for disk in disks if disk.source_kind == "file" and disk.cache not in SAFE_CACHES]
    if local:
        why = (
            f"{', '.join(local)} would stay behind: {facts.source} and {facts.destination} were not seen to share that "
            f"storage, and the cluster {facts.source.cluster} does not say so. Put it into a pool that both have, and "
            "prove their paths."
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


def writable(facts: Facts) -> list[Disk]:
    """The disks that hold what the guest writes."""
    return [disk for disk in facts.definition.disks if disk.source and not disk.read_only]


def shared_how(facts: Facts, disk: Disk) -> str:
    """Why a disk is taken to be shared; "" when it is not. What was proved goes before what was declared."""
    if disk.source_kind == "network":
        return "on the network"
    if disk.source_kind == "file" and facts.path is not None and facts.path.shares(dirname(disk.source)):
        return "seen to be shared"
    return "shared by the cluster's declaration" if facts.source.cluster.shared_storage else ""
