"""Whether the destination can take the VM in."""

from __future__ import annotations

from django.utils.timesince import timesince

from jobs.engine.context import Verdict
from jobs.operations.migrate.prechecks.facts import Facts

#: What QEMU needs beside the guest's memory, in MiB (an ordinary figure for x86 guests without devices of their own).
OVERHEAD_MIB = 256


def taking(facts: Facts) -> Verdict:
    """The destination takes VMs; it did when this was asked for."""
    return Verdict(
        "taking",
        "See that the destination takes VMs",
        not facts.destination.in_maintenance,
        "host_in_maintenance",
        f"{facts.destination} is in maintenance by now and takes no VMs.",
    )


def rules(facts: Facts) -> Verdict:
    """No placement rule keeps the VM from the destination, with what runs there or is on its way by now."""
    return Verdict(
        "rules", "See that no placement rule forbids it", not facts.forbidden, "placement_rule", facts.forbidden
    )


def path(facts: Facts) -> Verdict:
    """The last canary got there; before the first one that is not known, and said."""
    known = facts.path
    at = known.proved_at if known is not None else None
    return Verdict(
        "path",
        "See that VMs get from one host to the other",
        known is None or not known.is_broken,
        "path_broken",
        f"No VM gets from {facts.source} to {facts.destination} at present; prove the path once it is mended.",
        found=f"proved {timesince(at, depth=1)} ago" if at is not None else "not proved yet",
    )


def identity(facts: Facts) -> Verdict:
    """The two hosts are two, and the destination has no trace of the VM."""
    same = facts.source_identity.host_uuid == facts.destination_facts.host_uuid
    stale = any(guest.uuid == facts.state.uuid for guest in facts.there)
    why = (
        f"{facts.source} and {facts.destination} are the same machine."
        if same
        else f"{facts.destination} already has a definition of {facts.vm}, which a migration would overwrite; "
        "remove it there first."
    )
    code = "same_host" if same else "stale_definition"
    return Verdict("identity", "See that the destination has no trace of the VM", not same and not stale, code, why)


def name_free(facts: Facts) -> Verdict:
    """No other VM of that name at the destination."""
    clash = any(guest.name == facts.state.name and guest.uuid != facts.state.uuid for guest in facts.there)
    return Verdict(
        "name_free",
        "See that the name is free at the destination",
        not clash,
        "name_taken",
        f"{facts.destination} has another VM named {facts.state.name}; rename one of them.",
    )


def files(facts: Facts) -> Verdict:
    """What the VM's QEMU opens beside its disks is there, as far as a pool shows it."""
    missing, unproved = facts.lacks.files, facts.lacks.unproved
    seen = len(facts.needs.files) - len(unproved)
    more = f", {len(unproved)} in no pool, so that nobody can tell: {', '.join(unproved)}" if unproved else ""
    return Verdict(
        "files",
        "See that the destination has the VM's other files",
        not missing,
        "file_missing",
        f"{facts.destination} has no {', '.join(missing)}; copy it there, or take it out of the VM.",
        found=f"{seen} there{more}",
    )


def networks(facts: Facts) -> Verdict:
    """Every NIC finds its network there."""
    missing = facts.lacks.networks
    return Verdict(
        "networks",
        "See that the destination has the VM's networks",
        not missing,
        "network_missing",
        f"{facts.destination} has no network {', '.join(missing)}; define it there first.",
        found=", ".join(sorted({nic.source for nic in facts.definition.nics})),
    )


def filters(facts: Facts) -> Verdict:
    """What guards its NICs is there as well."""
    missing = facts.lacks.filters
    return Verdict(
        "filters",
        "See that the destination has the filters of the VM's network cards",
        not missing,
        "filter_missing",
        f"{facts.destination} has no network filter {', '.join(missing)}; define it there first (virsh "
        "nwfilter-define).",
        found=", ".join(facts.needs.filters),
    )


def capacity(facts: Facts) -> Verdict:
    """Free memory there, less what the host keeps and what was promised to VMs that were asked for earlier."""
    needed = facts.state.memory_mib + OVERHEAD_MIB
    free = facts.destination_facts.memory_free_mib - facts.destination.reserved_mib - facts.promised_mib
    return Verdict(
        "capacity",
        "See that the destination has the memory",
        free >= needed,
        "memory_short",
        f"{facts.destination} has {max(free, 0)} MiB left for VMs; {facts.vm} needs {needed} MiB.",
        found=f"{free} MiB left, {needed} MiB needed",
    )
