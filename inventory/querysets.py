"""How grants reach each model of the estate."""

from __future__ import annotations

from access.querysets import ScopedQuerySet


class ClusterQuerySet(ScopedQuerySet):
    scopes = {"cluster": ("pk",)}


class HostQuerySet(ScopedQuerySet):
    scopes = {"host": ("pk",), "cluster": ("cluster_id",)}


class SegmentQuerySet(ScopedQuerySet):
    scopes = {"segment": ("pk",)}


class VMQuerySet(ScopedQuerySet):
    """No path from hosts or clusters: a migration must not change who sees a VM."""

    scopes = {"vm": ("pk",), "segment": ("segment_id",)}


class SnapshotQuerySet(ScopedQuerySet):
    scopes = {"vm": ("vm_id",), "segment": ("vm__segment_id",)}
