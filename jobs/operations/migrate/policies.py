"""How far a migration may go for its end: the policies that a request, a VM or a segment can name. Pure.

The pauses are those of the field: 500 ms is Nova's and VDSM's limit, 5 s that of oVirt's policies "Suspend workload"
and "Very large VMs", 150 ms the step oVirt begins at and half of QEMU's own 300 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inventory.models import MigrationPolicy
from jobs.operations.params import choice

#: What a migration that stalls may exceed its policy's limit by to end all the same; not where a person set the limit.
GRACE = 1.5


@dataclass(frozen=True, slots=True)
class Policy:
    """Pauses in milliseconds: where the limit begins, how far it is raised step by step, and how long a pause may be
    to end a migration that stalls. `slows`: a guest that writes too fast is slowed down meanwhile (auto-converge);
    `postcopy`: what would take a longer pause ends by post-copy instead, at full speed.
    """

    name: MigrationPolicy
    first_downtime_ms: int
    max_downtime_ms: int
    longest_pause_ms: int
    slows: bool = True
    postcopy: bool = False


_POLICIES = {
    policy.name: policy
    for policy in (
        Policy(MigrationPolicy.GENTLE, 150, 500, round(500 * GRACE)),
        Policy(MigrationPolicy.ASSURED, 150, 500, round(500 * GRACE), slows=False, postcopy=True),
        Policy(MigrationPolicy.PAUSE_OK, 150, 500, 5000),
        Policy(MigrationPolicy.LARGE, 300, 1500, 5000),
    )
}


def policy_named(name: str, max_downtime_ms: int | None = None) -> Policy:
    """The policy of that name; `max_downtime_ms`, where a person set it, is the longest pause of all."""
    policy = _POLICIES[MigrationPolicy(name)]
    if max_downtime_ms is None:
        return policy
    lets_pause = policy.longest_pause_ms > policy.max_downtime_ms * GRACE
    cap = min(policy.max_downtime_ms, max_downtime_ms) if lets_pause else max_downtime_ms
    first = min(policy.first_downtime_ms, cap)
    return replace(policy, first_downtime_ms=first, max_downtime_ms=cap, longest_pause_ms=max_downtime_ms)


def policy_wish(params: Mapping[str, Any]) -> str:
    """The policy that a request names, "" for each VM's own. Raises InvalidRequest."""
    if params.get("policy") is None:
        return ""
    return choice(params, "policy", ("", *MigrationPolicy.values), default="")
