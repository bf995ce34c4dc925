"""How grants reach each model of the estate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db import models

from access.querysets import ScopedQuerySet

if TYPE_CHECKING:
    from inventory.models import (  # noqa: F401 - type parameters
        VM,
        Cluster,
        Host,
        HostPair,
        PlacementRule,
        SeenChange,
        Segment,
        Snapshot,
    )


class ClusterQuerySet(ScopedQuerySet["Cluster"]):
    scopes = {"cluster": ("pk",)}


class PlacementRuleQuerySet(ScopedQuerySet["PlacementRule"]):
    """Seen by who sees the cluster."""

    scopes = {"cluster": ("cluster_id",)}


class HostQuerySet(ScopedQuerySet["Host"]):
    scopes = {"host": ("pk",), "cluster": ("cluster_id",)}

    def taking_vms(self) -> Self:
        """Hosts that answer and are not in maintenance."""
        return self.filter(connection=self.model.Connection.ONLINE, availability__in=self.model.TAKING_VMS)


class HostPairQuerySet(models.QuerySet["HostPair"]):
    """Not asked for by themselves: who sees a host sees its paths to the hosts that they see as well."""

    def broken(self) -> Self:
        """Those whose last canary did not get through."""
        return self.filter(ok=False)


class SegmentQuerySet(ScopedQuerySet["Segment"]):
    scopes = {"segment": ("pk",)}


class VMQuerySet(ScopedQuerySet["VM"]):
    """No path from hosts or clusters: a migration must not change who sees a VM."""

    scopes = {"segment": ("segment_id",), "vm": ("pk",)}


class SnapshotQuerySet(ScopedQuerySet["Snapshot"]):
    scopes = {"segment": ("vm__segment_id",), "vm": ("vm_id",)}


class SeenChangeQuerySet(ScopedQuerySet["SeenChange"]):
    scopes = {"segment": ("vm__segment_id",), "vm": ("vm_id",)}

    def alarming(self) -> Self:
        """From outside, of a kind that its segment has an alarm for, and nobody has taken note of it."""
        return self.filter(verdict=self.model.Verdict.OUTSIDE, alarms=True, acknowledged_at=None)
