"""Small clusters at random for the planner's tests, and what must be true of a placement, written the long way."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from jobs.balancing.estate import Apart, Bools, Estate, NeverBeside, OnlyOn, Rule, Together

GIB = 1024.0


@st.composite
def estates(draw: Any, *, rules: bool = True, fitting: bool = False, most_vms: int = 12) -> Estate:
    """A cluster of one to five hosts. `fitting`: no host has promised more memory than it has.

    Only the sizes are drawn one by one, so that they shrink; the rest comes from a seed, so that it varies.
    """
    hosts, vms = draw(st.integers(1, 5)), draw(st.integers(0, most_vms))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    capacity = chance.integers(8, 40, hosts) * GIB
    memory = chance.integers(1, 8, vms) * GIB
    crowded = chance.dirichlet(np.full(hosts, 0.7))
    place = chance.choice(hosts, vms, p=crowded)
    if fitting:
        capacity = np.maximum(capacity, np.bincount(place, weights=memory, minlength=hosts))
    loads = np.stack([chance.integers(0, 40, vms) / 10, memory * chance.choice([0.3, 0.9])], axis=1)
    cores = chance.choice([8.0, 16.0], hosts)
    extras = _extras(chance, hosts, vms) if rules else {}
    return Estate(
        ("CPU", "memory"), capacity, np.stack([cores, capacity], axis=1), place, memory, loads, **extras
    )  # fmt: skip


def _extras(chance: np.random.Generator, hosts: int, vms: int) -> dict[str, Any]:
    def group() -> frozenset[int]:
        return frozenset(chance.choice(vms, min(vms, chance.integers(1, 5)), replace=False).tolist() if vms else [])

    def rule() -> Rule:
        kind = chance.choice(4, p=[0.4, 0.1, 0.25, 0.25])
        if kind == 0:
            return Apart(group())
        if kind == 1:
            return Together(group())
        if kind == 2:
            size = chance.integers(0 if chance.random() < 0.1 else 1, hosts + 1)
            return OnlyOn(int(chance.integers(3)), frozenset(chance.choice(hosts, size, replace=False).tolist()))
        return NeverBeside(*chance.choice(3, 2, replace=False).tolist())

    def mostly(share: float, length: int) -> Bools:
        return chance.random(length) < share

    return {
        "segment": chance.integers(-1, 3, vms),
        "moved_ago_s": np.where(mostly(0.9, vms), np.inf, chance.choice([0.0, 60.0, 3599.0, 3600.0], vms)),
        "movable": mostly(0.95, vms),
        "accepting": mostly(0.9, hosts),
        "dirty_mib_s": np.where(mostly(0.9, vms), 100.0, chance.choice([799.0, 800.0, 2000.0], vms)),
        "reserved_mib": chance.choice([0.0, 512.0], hosts),
        "barred": ~mostly(0.9, vms * hosts).reshape(vms, hosts),
        "past": None if mostly(0.7, 1)[0] else chance.uniform(0, [0.05, 1.0][chance.integers(2)], (2, hosts, 2)),
        "rules": tuple(rule() for _ in range(chance.integers(0, 5))),
    }


def permitted(estate: Estate, vm: int, host: int) -> bool:
    """Whether the rules about hosts let the VM be on it, from where it was."""
    for rule in estate.rules:
        if isinstance(rule, OnlyOn) and estate.segment[vm] == rule.segment and host not in rule.hosts:
            return False
    if host == estate.host[vm]:
        return True
    if estate.accepting is not None and not estate.accepting[host]:
        return False
    return estate.barred is None or not estate.barred[vm, host]


def rivals(estate: Estate) -> list[tuple[int, int]]:
    """Pairs of VMs that must not be on one host; once for each rule that says so."""
    found = []
    for rule in estate.rules:
        if isinstance(rule, Apart):
            found += list(combinations(sorted(rule.vms), 2))
        if isinstance(rule, NeverBeside):
            sides = [
                [vm for vm in range(estate.vms) if estate.segment[vm] == one] for one in (rule.segment, rule.other)
            ]
            found += list(product(*sides))
    return found


def breaches(estate: Estate, place: list[int]) -> dict[str, Any]:
    """What a placement breaks: VMs that are not permitted, pairs side by side, MiB over by host."""
    room = estate.usable_mib()
    used = [sum(estate.memory_mib[vm] for vm in range(estate.vms) if place[vm] == host) for host in range(estate.hosts)]
    return {
        "not_permitted": {vm for vm in range(estate.vms) if not permitted(estate, vm, place[vm])},
        "beside": {pair for pair in rivals(estate) if place[pair[0]] == place[pair[1]]},
        "over": {host: used[host] - room[host] for host in range(estate.hosts) if used[host] > room[host] + 1e-6},
    }


def stranded(estate: Estate, place: list[int]) -> float:
    """The most memory that the failure of one host strands, placed largest first where the least is left."""
    if estate.hosts < 2:
        return float(sum(estate.memory_mib[vm] for vm in range(estate.vms) if counts(estate, vm)))
    return max(_stranded(estate, place, host) for host in range(estate.hosts))


def _stranded(estate: Estate, place: list[int], failed: int) -> float:
    left = estate.usable_mib().copy()
    for vm in range(estate.vms):
        left[place[vm]] -= estate.memory_mib[vm]
    lost = 0.0
    for vm in sorted(range(estate.vms), key=lambda vm: (-estate.memory_mib[vm], vm)):
        if place[vm] != failed or not counts(estate, vm):
            continue
        open_to = [host for host in range(estate.hosts) if may_start(estate, place, vm, host, failed)]
        fitting = [host for host in open_to if max(left[host], 0) + 1e-9 >= estate.memory_mib[vm]]
        if fitting:
            left[min(fitting, key=lambda host: (max(left[host], 0), host))] -= estate.memory_mib[vm]
        else:
            lost += float(estate.memory_mib[vm])
    return lost


def counts(estate: Estate, vm: int) -> bool:
    """Whether the rules, and what a VM needs, leave it more than one host."""
    rules = replace(estate, accepting=None)
    return sum(permitted(rules, vm, host) for host in range(estate.hosts)) > 1


def may_start(estate: Estate, place: list[int], vm: int, host: int, failed: int) -> bool:
    """Whether a VM of a failed host may start on another, by the rules."""
    if host == failed or (estate.accepting is not None and not estate.accepting[host]):
        return False
    if estate.barred is not None and estate.barred[vm, host] and host != estate.host[vm]:
        return False
    if not permitted(estate, vm, host):
        return False
    there = {other for other in range(estate.vms) if place[other] == host}
    return not any((vm == a and b in there) or (vm == b and a in there) for a, b in rivals(estate))


def survives(estate: Estate, place: list[int], failed: int) -> bool:
    """Whether the VMs of a failed host have any placement at all on the others, by trying all of them."""
    lost = [vm for vm in range(estate.vms) if place[vm] == failed and counts(estate, vm)]
    left = estate.usable_mib().copy()
    for vm in range(estate.vms):
        left[place[vm]] -= estate.memory_mib[vm]
    open_to = [[h for h in range(estate.hosts) if may_start(estate, place, vm, h, failed)] for vm in lost]
    for choice in product(*open_to):
        need = np.bincount(choice, weights=estate.memory_mib[lost], minlength=estate.hosts) if lost else left * 0
        if all(need[host] == 0 or need[host] <= left[host] + 1e-6 for host in range(estate.hosts)):
            return True
    return False
