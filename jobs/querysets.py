"""How grants reach jobs: through what they work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db.models import Count, Q

from access.querysets import ScopedQuerySet
from jobs.states import LEASED, LOCKING, TERMINAL, VERIFYING

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

    def working(self) -> Self:
        """Jobs that hold their target and have not done yet what they are to do."""
        return self.active().exclude(phase=VERIFYING, state__in=LEASED)

    def news(self) -> int:
        """What these had to tell the job they are parts of: each that it has done its work, and that it is over."""
        over = Q(state__in=TERMINAL)
        done = over | Q(phase=VERIFYING, state__in=LEASED)
        counts: dict[str, int] = self.aggregate(over=Count("pk", filter=over), done=Count("pk", filter=done))
        return sum(counts.values())


class BrokenGlassQuerySet(ScopedQuerySet["BrokenGlass"]):
    """Seen by who sees the job."""

    scopes = {scope: tuple(f"job__{path}" for path in paths) for scope, paths in JobQuerySet.scopes.items()}
