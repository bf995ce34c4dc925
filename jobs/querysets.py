"""How grants reach jobs: through what they work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from access.querysets import ScopedQuerySet
from jobs.states import LOCKING, TERMINAL

if TYPE_CHECKING:
    from jobs.models import BrokenGlass, Job  # noqa: F401 - type parameters


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


class BrokenGlassQuerySet(ScopedQuerySet["BrokenGlass"]):
    """Seen by who sees the job."""

    scopes = {scope: tuple(f"job__{path}" for path in paths) for scope, paths in JobQuerySet.scopes.items()}
