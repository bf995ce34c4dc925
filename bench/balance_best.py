"""What a solver finds in minutes that the planner did not find in its twentieth of a second, and what it proves."""

from __future__ import annotations

import os

import numpy as np
from ortools.sat.python import cp_model

from jobs.balancing.estate import Estate, Ints

#: The solver reckons in whole numbers: loads in parts of the busiest host's.
PARTS = 100_000


def best_gib(estate: Estate, place: Ints, seconds: float) -> tuple[float, float]:
    """The least GiB that CP-SAT finds for a placement as even as `place`, whole VMs only, and what it proves no such
    placement can be below. It begins with `place` and searches for `seconds`.

    As even is what `balance_bound.least_gib` takes it for; here too neither rules nor a host's memory limit anything.
    """
    use = np.round(estate.loads / estate.loads.sum(axis=0) * estate.hosts * PARTS).astype(np.int64)
    gib = np.round(estate.memory_mib / 1024).astype(np.int64)
    if not np.array_equal(gib * 1024, estate.memory_mib):
        raise ValueError("memory has to be in whole GiB")
    model = cp_model.CpModel()
    at = [[model.new_bool_var("") for _ in range(estate.hosts)] for _ in range(estate.vms)]
    for vm, row in enumerate(at):
        model.add_exactly_one(row)
        for host, here in enumerate(row):
            model.add_hint(here, int(place[vm]) == host)
    for weight in use.T:
        mean = int(weight.sum()) // estate.hosts
        off = np.abs(np.bincount(place, weights=weight, minlength=estate.hosts).astype(np.int64) - mean)
        far = [model.new_int_var(0, int(off.max()), "") for _ in range(estate.hosts)]
        for host in range(estate.hosts):
            there = sum(int(weight[vm]) * at[vm][host] for vm in range(estate.vms))
            model.add(there - mean <= far[host])
            model.add(mean - there <= far[host])
            model.add_hint(far[host], int(off[host]))
        model.add(sum(far) <= int(off.sum()))
    model.minimize(sum(int(gib[vm]) * (1 - at[vm][int(home)]) for vm, home in enumerate(estate.host)))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = max(8, os.cpu_count() or 1)  # below eight it leaves out most of its searches
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise RuntimeError(f"the solver ended with {solver.status_name(status)}, though it began with a solution")
    return solver.objective_value, solver.best_objective_bound
