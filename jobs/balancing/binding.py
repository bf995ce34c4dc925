"""What the rules mean for single VMs: the hosts each may run on, and the VMs each may not be beside."""

from __future__ import annotations

import numpy as np

from jobs.balancing.estate import Apart, Bools, Estate, Ints, NeverBeside, OnlyOn, Together


def permitted(estate: Estate) -> Bools:
    """Where each VM may run by the rules and by what it needs, whether the host takes VMs or not, shape (V, H)."""
    may = np.ones((estate.vms, estate.hosts), dtype=bool)
    if estate.barred is not None:
        may &= ~estate.barred
    for rule in estate.rules:
        if isinstance(rule, OnlyOn):
            elsewhere = np.ones(estate.hosts, dtype=bool)
            elsewhere[sorted(rule.hosts)] = False
            may[np.ix_(of_segment(estate, rule.segment), elsewhere)] = False
    return may


def enterable(estate: Estate) -> Bools:
    """Where each VM may go: where it is permitted, on a host that takes VMs, shape (V, H)."""
    may = permitted(estate)
    return may if estate.accepting is None else may & estate.accepting[None, :]


def of_segment(estate: Estate, segment: int) -> Ints:
    """The VMs of a segment."""
    if estate.segment is None:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(estate.segment == segment)


class Rivals:
    """Which VMs may not be on one host, by `Apart` and `NeverBeside`."""

    def __init__(self, estate: Estate) -> None:
        self._others: dict[int, list[Ints]] = {}
        for rule in estate.rules:
            if isinstance(rule, Apart):
                group = np.array(sorted(rule.vms), dtype=np.int64)
                for vm in group:
                    self._others.setdefault(int(vm), []).append(group[group != vm])
            if isinstance(rule, NeverBeside):
                sides = of_segment(estate, rule.segment), of_segment(estate, rule.other)
                for side, against in (sides, sides[::-1]):
                    for vm in side:
                        self._others.setdefault(int(vm), []).append(against)

    def __bool__(self) -> bool:
        return bool(self._others)

    def of(self, vm: int) -> list[Ints]:
        """The VMs that `vm` may not be beside, rule by rule."""
        return self._others.get(vm, [])

    def having(self) -> list[int]:
        """The VMs that may not be beside some other, in order."""
        return sorted(self._others)

    def on_hosts(self, estate: Estate) -> Ints:
        """How many VMs that VM v may not be beside are on host h (once for each rule), shape (V, H)."""
        count = np.zeros((estate.vms, estate.hosts), dtype=np.int64)
        for vm, groups in self._others.items():
            for group in groups:
                count[vm] += np.bincount(estate.host[group], minlength=estate.hosts)
        return count


def fellows(estate: Estate) -> list[Ints]:
    """The groups of VMs that are to be together, of two or more. Rules that share a VM make one group."""
    groups: list[set[int]] = []
    for rule in estate.rules:
        if isinstance(rule, Together):
            joined = [group for group in groups if group & rule.vms]
            groups = [group for group in groups if not group & rule.vms]
            groups.append(set(rule.vms).union(*joined))
    return [np.array(sorted(group), dtype=np.int64) for group in groups if len(group) > 1]
