"""What a live migration costs: the memory that has to be sent, and for how long."""

from __future__ import annotations

import numpy as np

from jobs.balancing.estate import Estate, Floats
from jobs.balancing.policy import Policy

#: From this share of the bandwidth on, pre-copy needs so many rounds that it may never end (`vm.migrate` then turns to
#: throttling or post-copy): such a VM is not worth moving for balance.
MOST_DIRTY = 0.8


def dirty_share(estate: Estate, policy: Policy) -> Floats:
    """How fast each VM dirties its memory, as a share of the bandwidth, shape (V,)."""
    if estate.dirty_mib_s is None:
        return np.zeros(estate.vms)
    return estate.dirty_mib_s / policy.bandwidth_mib_s


def sent_gib(estate: Estate, policy: Policy) -> Floats:
    """What moving each VM sends, in GiB, shape (V,).

    Pre-copy sends the memory, then what was dirtied meanwhile, and so on: with the share p, a geometric series that
    ends at memory / (1 - p) (Clark et al., Live Migration of Virtual Machines, NSDI 2005, section 4). The share is
    held at `MOST_DIRTY`, since the series does not end beyond 1.
    """
    share = np.minimum(dirty_share(estate, policy), MOST_DIRTY)
    return estate.memory_mib / 1024 / (1 - share)


def seconds(estate: Estate, policy: Policy) -> Floats:
    """How long moving each VM takes, in seconds, shape (V,)."""
    return sent_gib(estate, policy) * 1024 / policy.bandwidth_mib_s
