"""The placement that the planner plays on: who is where, what is left, how uneven it is. The one thing that changes.

The imbalance is the sum over the resources r of w_r * sqrt(S_r / H), S_r the sum over the hosts of the squared
distance between a host's utilisation and the cluster's (all load over all capacity). With equal hosts that is the
standard deviation, hbal's measure; with unequal ones, the cluster's utilisation stays the same whatever moves, which
the mean of the hosts' does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.balancing.binding import Rivals, enterable, permitted
from jobs.balancing.cost import sent_gib
from jobs.balancing.estate import Bools, Estate, Floats, Ints, summed
from jobs.balancing.policy import Policy

#: Sums of loads are rounded in their last digits: what is smaller than this is none.
TINY = 1e-9
#: Standard deviations below this count as none, so that the slope of the square root stays finite.
LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, slots=True)
class Saved:
    """A placement to come back to."""

    at: Ints
    left: Floats
    off: Floats
    rivals: Ints


class Board:
    """A placement of the estate's VMs. `home` is where they were, `at` where they are.

    `needs` (V, K) is what each VM takes of a host, `left` (H, K) what the hosts have left of it: in the first column
    the memory in MiB, which is never passed; in the others, where the policy has a `high`, the load under it.
    """

    def __init__(self, estate: Estate, policy: Policy) -> None:
        hosts = estate.hosts
        self.estate = estate
        self.policy = policy
        self.home = estate.host.copy()
        self.at = estate.host.copy()
        self.loads = estate.loads
        self.squares = estate.loads**2
        self.share = 1.0 / estate.capacity
        self.weights = np.ones(len(estate.resources)) if policy.weights is None else np.array(policy.weights)
        self.price = (policy.price_per_move + policy.price_per_gib * sent_gib(estate, policy)) / hosts
        #: Where each VM may go, and where it may be: there, and at home.
        self.may_enter = enterable(estate)
        self.may_be = self.may_enter.copy()
        everyone = np.arange(estate.vms)
        self.may_be[everyone, self.home] = permitted(estate)[everyone, self.home]
        self.rules = Rivals(estate)
        self.rivals = self.rules.on_hosts(estate)
        self.mean = estate.loads.sum(axis=0) / estate.capacity.sum(axis=0)
        self.off = summed(self.loads, self.at, hosts) * self.share - self.mean
        self.needs = estate.memory_mib[:, None]
        self.left = estate.usable_mib()[:, None]
        if np.isfinite(policy.high):
            self.needs = np.hstack([self.needs, self.loads])
            self.left = np.hstack([self.left, policy.high * estate.capacity])
        self.left = self.left - summed(self.needs, self.at, hosts)

    @property
    def hosts(self) -> int:
        """How many hosts."""
        return self.estate.hosts

    @property
    def memory(self) -> Floats:
        """What each VM takes of its host, in MiB, shape (V,)."""
        return self.estate.memory_mib

    @property
    def left_mib(self) -> Floats:
        """The memory that each host has left, in MiB, shape (H,)."""
        return self.left[:, 0]

    @property
    def utilisation(self) -> Floats:
        """Load over capacity of each host, shape (H, R)."""
        result: Floats = self.off + self.mean
        return result

    def deviations(self) -> Floats:
        """The standard deviation of the hosts' utilisations, for each resource, shape (R,)."""
        result: Floats = np.sqrt((self.off**2).sum(axis=0) / self.hosts)
        return result

    def imbalance(self) -> float:
        """The weighted sum of the deviations."""
        return float(self.weights @ self.deviations())

    def paid(self) -> float:
        """The price of all VMs that are not where they were, in units of imbalance."""
        return float(self.price[self.at != self.home].sum())

    def move(self, vm: int, host: int) -> None:
        """Put `vm` on `host`, whether it may go there or not."""
        source = self.at[vm]
        self.off[source] -= self.loads[vm] * self.share[source]
        self.off[host] += self.loads[vm] * self.share[host]
        self.left[source] += self.needs[vm]
        self.left[host] -= self.needs[vm]
        self.at[vm] = host
        for group in self.rules.of(vm):
            self.rivals[group, source] -= 1
            self.rivals[group, host] += 1

    def save(self) -> Saved:
        """The placement, to come back to it."""
        return Saved(self.at.copy(), self.left.copy(), self.off.copy(), self.rivals.copy())

    def restore(self, saved: Saved) -> None:
        """Come back to a placement."""
        self.at = saved.at.copy()
        self.left = saved.left.copy()
        self.off = saved.off.copy()
        self.rivals = saved.rivals.copy()

    def admits(self, vms: Ints) -> Bools:
        """Where each of these VMs may be, room or not: permitted, and beside no rival, shape (len(vms), H)."""
        result = self.may_be[vms]
        return result & (self.rivals[vms] == 0) if self.rules else result

    def welcome(self, vms: Ints, *, cool: bool = True) -> Bools:
        """Where each of these VMs can go now by itself, shape (len(vms), H): admitted, and with room.

        Without `cool`, to hosts that the move takes over the policy's `high` as well.
        """
        result = self.admits(vms)
        for column in range(self.needs.shape[1] if cool else 1):
            result = result & (self.needs[vms, column, None] <= self.left[None, :, column] + TINY)
        result[np.arange(len(vms)), self.at[vms]] = False
        return result
