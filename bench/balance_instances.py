"""Clusters to balance, made from a seed: one as the peer can read it, and a large one with rules."""

from __future__ import annotations

import numpy as np

from jobs.balancing.estate import Apart, Estate, NeverBeside, OnlyOn

MIB = 1024
#: The peer takes a VM's use as a number from 0 to 1, and adds them up by host: here, of the largest VM's cores and MiB.
MOST_CORES, MOST_MIB = 8, 32 * MIB


def peer_instance(seed: int, hosts: int = 20, vms: int = 400) -> Estate:
    """Equal hosts of 48 cores and 192 GiB, about 55 % of their memory given away; some have many VMs, some few.

    The loads are those of which the peer's score is made: memory given, vCPUs given, CPU used, memory used. The last
    two in its unit, rounded as its file has them, so that both see the same numbers.
    """
    chance = np.random.default_rng(seed)
    memory = chance.choice(np.array([1, 2, 4, 8, 16, 32]) * MIB, vms, p=[0.15, 0.25, 0.3, 0.2, 0.08, 0.02])
    vcpus = chance.choice([1, 2, 4, 8], vms, p=[0.2, 0.35, 0.3, 0.15])
    cpu = np.round(vcpus * chance.beta(1.5, 4, vms) / MOST_CORES, 6)
    active = np.round(memory * chance.beta(2, 3, vms) / MOST_MIB, 6)
    popular = np.exp(chance.normal(0, 0.5, hosts))
    place = np.zeros(vms, dtype=np.int64)
    left = np.full(hosts, 192.0 * MIB * 0.95)
    for vm in chance.permutation(vms):
        open_to = popular * (left >= memory[vm])
        place[vm] = chance.choice(hosts, p=open_to / open_to.sum())
        left[place[vm]] -= memory[vm]
    capacity_mib = np.full(hosts, 192.0 * MIB)
    capacity = np.stack([capacity_mib, np.full(hosts, 48.0), np.ones(hosts), np.ones(hosts)], axis=1)
    loads = np.stack([memory, vcpus, cpu, active], axis=1).astype(float)
    resources = ("memory given", "vCPUs given", "CPU", "memory used")
    return Estate(resources, capacity_mib, capacity, place, memory.astype(float), loads)


def extended_instance(seed: int, hosts: int = 20, fresh: int = 5, vms: int = 400) -> Estate:
    """A cluster as `peer_instance` makes them, to which empty hosts were just added: `fresh` of its `hosts`."""
    old = peer_instance(seed, hosts - fresh, vms)
    capacity = np.tile(old.capacity[0], (hosts, 1))
    return Estate(old.resources, capacity[:, 0], capacity, old.host, old.memory_mib, old.loads)


def large_instance(seed: int, hosts: int = 100, vms: int = 10_000) -> Estate:
    """Hosts with about 65 % of their memory given away, 20 segments, 300 groups of three to be apart, two segments
    never side by side, and one bound to half of the hosts; many of these rules are broken to begin with.
    """
    chance = np.random.default_rng(seed)
    memory = chance.choice(np.array([1.0, 2, 4, 8]) * MIB, vms, p=[0.2, 0.3, 0.3, 0.2])
    capacity_mib = np.full(hosts, memory.sum() / hosts / 0.65)
    popular = np.exp(chance.normal(0, 0.35, hosts))
    place = np.zeros(vms, dtype=np.int64)
    left = capacity_mib.copy()
    for vm in range(vms):
        open_to = popular * (left >= memory[vm])
        place[vm] = chance.choice(hosts, p=open_to / open_to.sum())
        left[place[vm]] -= memory[vm]
    loads = np.stack([chance.beta(1.5, 4, vms), memory * chance.beta(3, 3, vms)], axis=1)
    cores = np.full(hosts, vms * 0.5 / hosts)
    apart = [Apart(frozenset(chance.choice(vms, 3, replace=False).tolist())) for _ in range(300)]
    return Estate(
        ("CPU", "memory"), capacity_mib, np.stack([cores, capacity_mib], axis=1), place, memory, loads,
        dirty_mib_s=chance.exponential(100, vms), segment=chance.integers(0, 20, vms),
        rules=(*apart, NeverBeside(3, 4), OnlyOn(5, frozenset(range(hosts // 2)))),
    )  # fmt: skip
