"""What of a plan for a cluster an onlooker may know: moves of VMs that they see, and how many others there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from access.models import User
from inventory.models import VM, Host


@dataclass(frozen=True, slots=True)
class ToldPlan:
    """A written plan (`jobs.operations.rebalance.proposal.written`) with objects for ids; a host that the onlooker does
    not see is None. `hidden` counts the moves that are left out; of what is not met, `others` counts the VMs.
    """

    moves: list[dict[str, Any]]
    unmet: list[dict[str, Any]]
    hidden: int


def plan_told(onlooker: User, plan: Mapping[str, Any]) -> ToldPlan:
    """The plan for this onlooker, by two statements."""
    moves, unmet = plan["moves"], plan["unmet"]
    vms = _seen(onlooker, VM, {move["vm"] for move in moves} | {pk for one in unmet for pk in one["vms"]})
    ends = {move[end] for move in moves for end in ("source", "destination")}
    hosts = _seen(onlooker, Host, ends | {pk for one in unmet for pk in one["hosts"]})
    told = [
        move | {"vm": vms[move["vm"]]} | {end: hosts.get(move[end]) for end in ("source", "destination")}
        for move in moves
        if move["vm"] in vms
    ]
    return ToldPlan(told, [_unmet(one, vms, hosts) for one in unmet], hidden=len(moves) - len(told))


def _unmet(one: Mapping[str, Any], vms: Mapping[int, VM], hosts: Mapping[int, Host]) -> dict[str, Any]:
    named = [vms[pk] for pk in one["vms"] if pk in vms]
    others = len(one["vms"]) - len(named)
    return {**one, "vms": named, "others": others, "hosts": [hosts[pk] for pk in one["hosts"] if pk in hosts]}


def _seen(onlooker: User, model: Any, keys: set[int]) -> dict[int, Any]:
    found: dict[int, Any] = model.objects.visible_to(onlooker).in_bulk(keys) if keys else {}
    return found
