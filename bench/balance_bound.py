"""The least memory that has to be moved for a cluster to be as even as a placement is: a lower bound, by an LP."""

from __future__ import annotations

import numpy as np
from ortools.linear_solver import pywraplp

from jobs.balancing.estate import Estate, Ints, summed


def least_gib(estate: Estate, place: Ints, *, mean_too: bool) -> float:
    """A lower bound in GiB of what any plan moves that ends at least as even as `place`.

    At least as even: on each resource, no host is farther from the mean than the farthest is in `place`; with
    `mean_too`, nor are the hosts on average. The VMs may be divided over hosts as one likes, and neither rules nor a
    host's memory limit anything, so that no real plan needs less. `place` itself satisfies it, so that what it moved
    is at least the bound. Less than the bound can be moved only by plans that are less even on some resource, even
    with the same sum of standard deviations: it says nothing about those.

    Raises RuntimeError when the solver (GLOP) finds no optimum.
    """
    use = estate.loads / estate.capacity[0]  # the hosts are equal
    off = summed(use, place, estate.hosts)
    mean = off.mean(axis=0)
    off = np.abs(off - mean)
    solver = pywraplp.Solver.CreateSolver("GLOP")
    part = [[solver.NumVar(0, 1, "") for _ in range(estate.hosts)] for _ in range(estate.vms)]
    for parts in part:
        solver.Add(solver.Sum(parts) == 1)
    for resource in range(len(mean)):
        far = [solver.NumVar(0, float(off[:, resource].max()), "") for _ in range(estate.hosts)]
        for host in range(estate.hosts):
            there = solver.Sum([part[vm][host] * float(use[vm, resource]) for vm in range(estate.vms)])
            solver.Add(there - far[host] <= float(mean[resource]))
            solver.Add(there + far[host] >= float(mean[resource]))
        if mean_too:
            solver.Add(solver.Sum(far) <= float(off[:, resource].sum()))
    gib = estate.memory_mib / 1024
    stays = [part[vm][int(host)] * float(gib[vm]) for vm, host in enumerate(estate.host)]
    solver.Maximize(solver.Sum(stays))
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        raise RuntimeError("the LP has no optimum")
    return float(gib.sum() - solver.Objective().Value())
