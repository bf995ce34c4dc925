"""What the planner is told of a cluster: its hosts, its VMs with what they were observed to use, and its rules."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Apart:
    """No two of these VMs on one host (anti-affinity)."""

    vms: frozenset[int]


@dataclass(frozen=True, slots=True)
class Together:
    """All of these VMs on one host (affinity)."""

    vms: frozenset[int]


@dataclass(frozen=True, slots=True)
class OnlyOn:
    """The VMs of a segment on these hosts and no other ("accounting only on these hosts")."""

    segment: int
    hosts: frozenset[int]


@dataclass(frozen=True, slots=True)
class NeverBeside:
    """No VM of the one segment on a host with a VM of the other."""

    segment: int
    other: int


Rule = Apart | Together | OnlyOn | NeverBeside


@dataclass(frozen=True, slots=True)
class Estate:
    """A cluster at a moment. VMs and hosts are numbers from 0: V VMs, H hosts, R resources that have a load.

    `memory_mib` is what a VM takes of its host whatever it does (allocated, with overhead); it is a hard limit. `loads`
    is what the VM was observed to use, in the units of `capacity` (cores, MiB ...), smoothed (`inventory.loads`).
    `reserved_mib` of a host is not for VMs. `segment` is -1 for a VM in none. `moved_ago_s` is infinite for a VM that
    never moved. `barred[v, h]` says that VM v cannot run on host h (its processor, its storage). A host that is not
    `accepting` gives VMs away and takes none. `past` are the utilisations of the hosts in the windows before this one,
    oldest first, shape (W, H, R).
    """

    resources: tuple[str, ...]
    capacity_mib: Floats  # (H,)
    capacity: Floats  # (H, R)
    host: Ints  # (V,)
    memory_mib: Floats  # (V,)
    loads: Floats  # (V, R)
    reserved_mib: Floats | None = None  # (H,)
    dirty_mib_s: Floats | None = None  # (V,)
    segment: Ints | None = None  # (V,)
    moved_ago_s: Floats | None = None  # (V,)
    movable: Bools | None = None  # (V,)
    barred: Bools | None = None  # (V, H)
    accepting: Bools | None = None  # (H,)
    past: Floats | None = None  # (W, H, R)
    rules: tuple[Rule, ...] = field(default=())

    @property
    def hosts(self) -> int:
        """How many hosts."""
        return len(self.capacity_mib)

    @property
    def vms(self) -> int:
        """How many VMs."""
        return len(self.host)

    @property
    def utilisation(self) -> Floats:
        """Load over capacity of each host, shape (H, R)."""
        return summed(self.loads, self.host, self.hosts) / self.capacity

    def usable_mib(self) -> Floats:
        """Memory of each host that VMs may take, shape (H,)."""
        return self.capacity_mib - (0.0 if self.reserved_mib is None else self.reserved_mib)

    def check(self) -> None:
        """Raise ValueError, with what is wrong, for arrays that do not describe a cluster."""
        shapes = {
            "capacity_mib": (self.hosts,), "capacity": (self.hosts, len(self.resources)), "host": (self.vms,),
            "memory_mib": (self.vms,), "loads": (self.vms, len(self.resources)), "reserved_mib": (self.hosts,),
            "dirty_mib_s": (self.vms,), "segment": (self.vms,), "moved_ago_s": (self.vms,), "movable": (self.vms,),
            "barred": (self.vms, self.hosts), "accepting": (self.hosts,),
        }  # fmt: skip
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ValueError(f"{name} has the shape {array.shape}, not {shape}")
        if self.past is not None and self.past.shape[1:] != self.capacity.shape:
            raise ValueError(f"past has the shape {self.past.shape}, not (windows, hosts, resources)")
        if not self.resources or self.hosts == 0:
            raise ValueError("a cluster has at least one host and one resource")
        self._check_values()
        self._check_rules()

    def _check_values(self) -> None:
        for name in ("memory_mib", "loads", "reserved_mib", "dirty_mib_s", "past", "moved_ago_s"):
            array = getattr(self, name)
            if array is not None and (np.isnan(array).any() or (array < 0).any()):
                raise ValueError(f"{name} has a value that is negative or not a number")
            if array is not None and name != "moved_ago_s" and np.isinf(array).any():
                raise ValueError(f"{name} has a value that is infinite")
        for name in ("capacity_mib", "capacity"):
            array = getattr(self, name)
            if not (np.isfinite(array).all() and (array > 0).all()):
                raise ValueError(f"{name} has a value that is not a positive number")
        if self.vms and (self.host.min() < 0 or self.host.max() >= self.hosts):
            raise ValueError("host names a host that there is not")

    def _check_rules(self) -> None:
        for rule in self.rules:
            if isinstance(rule, (Apart, Together)) and not all(0 <= vm < self.vms for vm in rule.vms):
                raise ValueError(f"{rule} names a VM that there is not")
            if isinstance(rule, OnlyOn) and not all(0 <= host < self.hosts for host in rule.hosts):
                raise ValueError(f"{rule} names a host that there is not")
            if isinstance(rule, NeverBeside) and rule.segment == rule.other:
                raise ValueError(f"{rule} forbids a segment to be beside itself")
            if isinstance(rule, (OnlyOn, NeverBeside)) and self.segment is None:
                raise ValueError(f"{rule} needs the VMs' segments")


def summed(values: Floats, host: Ints, hosts: int) -> Floats:
    """The sum over each host's VMs: (V, R) and (V,) give (H, R)."""
    total = np.zeros((hosts, values.shape[1]))
    np.add.at(total, host, values)
    return total
