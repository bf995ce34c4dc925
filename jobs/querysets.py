"""How grants reach jobs: through what they work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from access.querysets import ScopedQuerySet
from jobs.states import LOCKING, TERMINAL

if TYPE_CHECKING:
    from jobs.models import BrokenGlass, Job  # noqa: F401 - type parameters


class BrokenGlassQuerySet(ScopedQuerySet["BrokenGlass"]):
    """Seen by who sees the job's target."""

    scopes = {
        "vm": ("job__vm_id",),
        "segment": ("job__vm__segment_id",),
        "host": ("job__host_id",),
        "cluster": ("job__host__cluster_id", "job__cluster_id"),
    }


class JobQuerySet(ScopedQuerySet["Job"]):
    scopes = {
        "vm": ("vm_id",),
        "segment": ("vm__segment_id",),
        "host": ("host_id",),
        "cluster": ("host__cluster_id", "cluster_id"),
    }

    def active(self) -> Self:
        """Jobs that hold their target."""
        return self.filter(state__in=LOCKING)

    def unfinished(self) -> Self:
        """Jobs that are not over."""
        return self.exclude(state__in=TERMINAL)
